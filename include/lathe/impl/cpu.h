// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The CPU backend: the formula of lathe_decode_run, in double and rounded once, in the order a
// reader expects. It is the oracle of the GPU tests, so it is made to be checked by eye. What speed
// it has comes from converting cache rows once for a block of (token, head) rows, from inner loops
// of fixed length that compilers vectorise, and from threads that share nothing but a counter.

enum {
  LATHEP_CPU_ROWS = 16,      // (token, head) rows of a request that share converted cache rows
  LATHEP_CPU_TOKENS = 16,    // cache rows converted at a time
  LATHEP_CPU_LANES = 8,      // rows in scratch memory are padded to a multiple with zeros
  LATHEP_CPU_THREADS = 64,   // at most
  LATHEP_CPU_GRAIN = 1 << 22 // multiplications that are worth a thread
};

typedef struct lathep_cpu_job {
  const lathe_decode_desc *desc;
  const lathe_decode_args *args;
  double softmax_scale;
  int64_t padded;             // doubles of a row in scratch memory
  int64_t blocks_per_request; // of LATHEP_CPU_ROWS rows
  pthread_mutex_t mutex;
  int64_t next; // block to be done by whoever asks first
} lathep_cpu_job;

typedef struct lathep_cpu_worker {
  lathep_cpu_job *job;
  double *kv;  // [LATHEP_CPU_TOKENS, padded]
  double *q;   // [LATHEP_CPU_ROWS, padded]
  double *acc; // [LATHEP_CPU_ROWS, padded]: sum of exp(z - most) v
} lathep_cpu_worker;

// One (token, head) row on its way through the cache.
typedef struct lathep_cpu_row {
  int64_t token, head;
  int64_t first, visible; // it sees the cache rows from first on and before visible
  const uint32_t *tree;   // and of those from visible on the ones with a bit; null: none
  double most, sum;       // largest logit so far; sum of exp(z - most)
} lathep_cpu_row;

typedef struct lathep_cpu_request {
  int64_t first_token, q_len, kv_len;
  int64_t rows; // cache rows: those of kv_len that are this rank's
} lathep_cpu_request;

// Tokens and length of request i, clamped as lathe.h says: nothing outside the tensors is touched,
// whatever the arrays hold.
LATHEP_FN lathep_cpu_request lathep_cpu_tokens_of(const lathe_decode_desc *desc,
                                                  const lathe_decode_args *args, int64_t i) {
  lathep_cpu_request request;
  int64_t first = i * args->q_len, end = first + args->q_len;
  if (args->cu_q_lens) {
    first = args->cu_q_lens[i];
    end = args->cu_q_lens[i + 1];
  }
  request.first_token = lathep_clamp(first, 0, args->num_tokens);
  end = lathep_clamp(end, request.first_token, args->num_tokens);
  request.q_len = lathep_clamp(end - request.first_token, 0, desc->max_q_len);
  request.kv_len = request.rows = 0;
  return request;
}

LATHEP_FN lathep_cpu_request lathep_cpu_request_of(const lathe_decode_desc *desc,
                                                   const lathe_decode_args *args, int64_t i) {
  lathep_cpu_request request = lathep_cpu_tokens_of(desc, args, i);
  if (desc->sparse_topk && !args->seq_lens)
    request.kv_len = desc->max_seq_len;
  else
    request.kv_len = lathep_clamp(args->seq_lens[i], 0, lathep_seq_limit(desc, args));
  request.rows = lathep_rows_before(desc, request.kv_len);
  return request;
}

// What new token t of the request sees of the cache.
LATHEP_FN void lathep_cpu_look(const lathe_decode_desc *desc, const lathe_decode_args *args,
                               const lathep_cpu_request *request, int64_t t, lathep_cpu_row *row) {
  const int64_t before = request->kv_len - request->q_len; // position of the first new token
  int64_t end = request->kv_len, first = 0;
  row->tree = NULL;
  if (desc->mask == LATHE_MASK_CAUSAL)
    end = lathep_clamp(before + t + 1, 0, end);
  if (desc->sliding_window && end > desc->sliding_window)
    first = end - desc->sliding_window;
  if (desc->mask == LATHE_MASK_TREE) {
    end = lathep_clamp(before, 0, end);
    row->tree = args->tree_mask + (request->first_token + t) * args->tree_mask_stride;
  }
  row->first = lathep_rows_before(desc, first);
  row->visible = lathep_rows_before(desc, end);
}

// Cache rows before it are all that it may see.
LATHEP_FN int64_t lathep_cpu_reach(const lathep_cpu_request *request, const lathep_cpu_row *row) {
  return row->tree ? request->rows : row->visible;
}

// In lanes, since a compiler may not reorder a sum by itself. n is a multiple of the lanes.
LATHEP_FN double lathep_cpu_dot(const double *a, const double *b, int64_t n) {
  double lanes[LATHEP_CPU_LANES] = {0, 0, 0, 0, 0, 0, 0, 0};
  int64_t d;
  int lane;
  for (d = 0; d < n; d += LATHEP_CPU_LANES)
    for (lane = 0; lane < LATHEP_CPU_LANES; lane++)
      lanes[lane] += a[d + lane] * b[d + lane];
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
         ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

// sum += factor * v
LATHEP_FN void lathep_cpu_add(double *__restrict sum, double factor, const double *__restrict v,
                              int64_t n) {
  int64_t d;
  int lane;
  for (d = 0; d < n; d += LATHEP_CPU_LANES)
    for (lane = 0; lane < LATHEP_CPU_LANES; lane++)
      sum[d + lane] += factor * v[d + lane];
}

// Takes the converted cache rows from `first` on and before `end` into one row's running softmax:
// what was summed under a smaller largest logit is scaled down first.
LATHEP_FN void lathep_cpu_attend(const lathep_cpu_worker *worker, lathep_cpu_row *row,
                                 const double *q, double *acc, int64_t first, int64_t end) {
  const lathe_decode_args *args = worker->job->args;
  const double scale = worker->job->softmax_scale * (double)args->kv_scale * (double)args->q_scale;
  const double cap = (double)worker->job->desc->logit_softcap;
  const int64_t padded = worker->job->padded;
  const int64_t l =
      lathep_ceil_div(worker->job->desc->kv_lora_rank, LATHEP_CPU_LANES) * LATHEP_CPU_LANES;
  double logits[LATHEP_CPU_TOKENS], most = row->most, rescale, weight;
  int64_t j, d;
  for (j = first; j < end; j++) {
    logits[j] = scale * lathep_cpu_dot(q, worker->kv + j * padded, padded);
    if (cap > 0)
      logits[j] = cap * tanh(logits[j] / cap);
    if (logits[j] > most)
      most = logits[j];
  }
  if (most > row->most) {
    rescale = exp(row->most - most); // 0 the first time, when there is nothing yet
    row->sum *= rescale;
    for (d = 0; d < l; d++)
      acc[d] *= rescale;
    row->most = most;
  }
  for (j = first; j < end; j++) {
    weight = exp(logits[j] - most);
    row->sum += weight;
    lathep_cpu_add(acc, weight, worker->kv + j * padded, l);
  }
}

// The same of those of `count` converted rows that the row sees; the first is cache row `at`.
LATHEP_FN void lathep_cpu_pass(const lathep_cpu_worker *worker, const lathep_cpu_request *request,
                               lathep_cpu_row *row, const double *q, double *acc, int64_t at,
                               int64_t count) {
  const lathe_decode_desc *desc = worker->job->desc;
  const int64_t known = lathep_clamp(row->visible - at, 0, count);
  int64_t j, other;
  lathep_cpu_attend(worker, row, q, acc, lathep_clamp(row->first - at, 0, count), known);
  for (j = known; row->tree && j < count; j++) {
    other = lathep_position_of(desc, at + j) - (request->kv_len - request->q_len);
    if (row->tree[other / 32] >> other % 32 & 1)
      lathep_cpu_attend(worker, row, q, acc, j, j + 1);
  }
}

LATHEP_FN void lathep_cpu_start(const lathep_cpu_worker *worker, lathep_cpu_row *row, double *q,
                                double *acc) {
  const lathe_decode_desc *desc = worker->job->desc;
  const lathe_decode_args *args = worker->job->args;
  int64_t d;
  row->most = -(double)INFINITY;
  row->sum = 0;
  for (d = 0; d < worker->job->padded; d++)
    acc[d] = 0;
  lathep_cpu_load(desc->q_dtype, args->q,
                  row->token * args->q_token_stride + row->head * args->q_head_stride,
                  desc->kv_lora_rank, q);
  if (desc->qk_rope_head_dim > 0)
    lathep_cpu_load(desc->q_dtype, args->q_pe,
                    row->token * args->q_pe_token_stride + row->head * args->q_pe_head_stride,
                    desc->qk_rope_head_dim, q + desc->kv_lora_rank);
}

// ln(e^a + e^b)
LATHEP_FN double lathep_cpu_log_add(double a, double b) {
  const double most = a > b ? a : b;
  return most == -(double)INFINITY ? a : most + log(exp(a - most) + exp(b - most));
}

LATHEP_FN void lathep_cpu_finish(const lathep_cpu_worker *worker, const lathep_cpu_row *row,
                                 const double *acc) {
  const lathe_decode_desc *desc = worker->job->desc;
  const lathe_decode_args *args = worker->job->args;
  const double ln2 = 0.69314718055994530942;
  const int seen = row->sum != 0; // NaN is not nothing
  double value, sum = row->sum, lse = row->most, sink = -(double)INFINITY;
  const int64_t at = row->token * args->out_token_stride + row->head * args->out_head_stride;
  int64_t d;
  if (lathep_has_sinks(desc)) {
    sink = (double)args->sinks[row->head];
    sum += exp(sink - row->most);
  }
  for (d = 0; d < desc->kv_lora_rank; d++) {
    value = seen ? acc[d] / sum * (double)args->kv_scale : 0;
    lathep_cpu_store(desc->out_dtype, args->out, at + d, value / (double)args->out_scale);
  }
  if (!args->lse)
    return;
  if (seen)
    lse += log(row->sum);
  if (desc->cp_world > 1) // what ranks are joined by
    lse = lathep_cpu_log_add(lse, sink);
  lse /= desc->lse_base == LATHE_LSE_BASE2 ? ln2 : 1;
  args->lse[row->token * args->lse_token_stride + row->head * args->lse_head_stride] = (float)lse;
}

// LATHEP_CPU_ROWS rows of a request. Rows are numbered token * H + head.
LATHEP_FN void lathep_cpu_block(const lathep_cpu_worker *worker, int64_t i, int64_t block) {
  const lathe_decode_desc *desc = worker->job->desc;
  const lathe_decode_args *args = worker->job->args;
  const lathep_cpu_request request = lathep_cpu_request_of(desc, args, i);
  const int64_t padded = worker->job->padded, first = block * LATHEP_CPU_ROWS;
  const int64_t count = lathep_clamp(request.q_len * desc->num_heads - first, 0, LATHEP_CPU_ROWS);
  lathep_cpu_row rows[LATHEP_CPU_ROWS];
  int64_t n, j, rows_here, t, reach, least_first = request.rows, most_visible = 0;
  for (n = 0; n < count; n++) {
    t = (first + n) / desc->num_heads;
    rows[n].token = request.first_token + t;
    rows[n].head = (first + n) % desc->num_heads;
    lathep_cpu_look(desc, args, &request, t, &rows[n]);
    reach = lathep_cpu_reach(&request, &rows[n]);
    if (rows[n].first < least_first)
      least_first = rows[n].first;
    if (reach > most_visible)
      most_visible = reach;
    lathep_cpu_start(worker, &rows[n], worker->q + n * padded, worker->acc + n * padded);
  }
  for (j = least_first; j < most_visible; j += LATHEP_CPU_TOKENS) {
    rows_here = lathep_clamp(most_visible - j, 0, LATHEP_CPU_TOKENS);
    for (n = 0, t = 0; n < rows_here; n++)
      t += lathep_cpu_load_kv(desc, args, i, j + n, worker->kv + t * padded);
    if (desc->sparse_topk) // of one token, which sees what was there
      rows_here = t;
    for (n = 0; n < count; n++)
      lathep_cpu_pass(worker, &request, &rows[n], worker->q + n * padded, worker->acc + n * padded,
                      j, rows_here);
  }
  for (n = 0; n < count; n++)
    lathep_cpu_finish(worker, &rows[n], worker->acc + n * padded);
}

LATHEP_FN void *lathep_cpu_work(void *data) {
  const lathep_cpu_worker *worker = (const lathep_cpu_worker *)data;
  lathep_cpu_job *job = worker->job;
  const int64_t blocks = job->args->batch * job->blocks_per_request;
  int64_t block;
  for (;;) {
    pthread_mutex_lock(&job->mutex);
    block = job->next < blocks ? job->next++ : blocks;
    pthread_mutex_unlock(&job->mutex);
    if (block == blocks)
      return NULL;
    lathep_cpu_block(worker, block / job->blocks_per_request, block % job->blocks_per_request);
  }
}

// As many threads as there are processors, fewer for little work.
LATHEP_FN int lathep_cpu_threads(const lathep_cpu_job *job) {
  const lathe_decode_desc *desc = job->desc;
  double work = 0, per_row = 2.0 * desc->kv_lora_rank + desc->qk_rope_head_dim;
  int64_t most = lathep_clamp(sysconf(_SC_NPROCESSORS_ONLN), 1, LATHEP_CPU_THREADS), i;
  for (i = 0; i < job->args->batch; i++) {
    const lathep_cpu_request request = lathep_cpu_request_of(desc, job->args, i);
    work += (double)(request.q_len * desc->num_heads) * (double)request.rows * per_row;
  }
  most = lathep_clamp(most, 1, job->args->batch * job->blocks_per_request);
  return work < (double)most * LATHEP_CPU_GRAIN ? 1 + (int)(work / LATHEP_CPU_GRAIN) : (int)most;
}

LATHEP_FN void lathep_cpu_run(lathep_cpu_worker *workers, int threads) {
  pthread_t handles[LATHEP_CPU_THREADS];
  int started = 0;
  while (started < threads - 1 &&
         pthread_create(&handles[started], NULL, lathep_cpu_work, &workers[started + 1]) == 0)
    started++; // where threads run out, those that there are do all the work
  lathep_cpu_work(&workers[0]);
  while (started > 0)
    pthread_join(handles[--started], NULL);
}

// Takes a desc and args whose defaults are filled in (check.h, args.h). Returns when out and lse
// are written.
LATHEP_FN lathe_status lathep_cpu_decode(const lathe_context *context,
                                         const lathe_decode_desc *desc,
                                         const lathe_decode_args *args) {
  lathep_cpu_worker workers[LATHEP_CPU_THREADS];
  lathep_cpu_job job;
  int64_t doubles;
  double *scratch;
  int n, threads;
  job.desc = desc;
  job.args = args;
  job.softmax_scale =
      (double)(desc->softmax_scale_on_device ? *args->softmax_scale_at : args->softmax_scale);
  job.next = 0;
  job.padded =
      lathep_ceil_div((int64_t)desc->kv_lora_rank + desc->qk_rope_head_dim, LATHEP_CPU_LANES) *
      LATHEP_CPU_LANES;
  job.blocks_per_request =
      lathep_ceil_div((int64_t)desc->num_heads * desc->max_q_len, LATHEP_CPU_ROWS);
  threads = lathep_cpu_threads(&job);
  doubles = (LATHEP_CPU_TOKENS + 2 * LATHEP_CPU_ROWS) * job.padded;
  scratch = (double *)lathep_alloc(&context->allocator,
                                   (size_t)threads * (size_t)doubles * sizeof(double));
  if (!scratch)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "the CPU backend got no memory for %d threads of %lld bytes; free some, or "
                       "look into lathe_context_desc.allocator",
                       threads, (long long)doubles * (long long)sizeof(double));
  for (n = 0; n < threads; n++) {
    workers[n].job = &job;
    workers[n].kv = scratch + n * doubles; // padding stays the zeros of lathep_alloc
    workers[n].q = workers[n].kv + LATHEP_CPU_TOKENS * job.padded;
    workers[n].acc = workers[n].q + LATHEP_CPU_ROWS * job.padded;
  }
  pthread_mutex_init(&job.mutex, NULL);
  lathep_cpu_run(workers, threads);
  pthread_mutex_destroy(&job.mutex);
  lathep_free(&context->allocator, scratch);
  return LATHE_STATUS_OK;
}
