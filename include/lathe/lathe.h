// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// clang-format off: the manual and its comments are laid out by hand
/*
  lathe.h: one decode step of Multi-head Latent Attention (MLA) on NVIDIA GPUs, from C.

  Do this in exactly one C or C++ file, before the include:

      #define LATHE_IMPLEMENTATION
      #include <lathe/lathe.h>

  and include it without the macro everywhere else. Link with -ldl -lpthread -lm; nothing of CUDA.

  STEP BY STEP
      lathe_context *ctx;
      lathe_context_create(NULL, &ctx);                    the GPU if there is one, else the CPU

      lathe_decode_desc desc = {.num_heads = 128, .kv_lora_rank = 512, .qk_rope_head_dim = 64,
                                .q_dtype = LATHE_DTYPE_BF16, .kv_dtype = LATHE_DTYPE_BF16,
                                .page_size = 64, .max_batch = 32, .max_q_len = 1,
                                .max_seq_len = 16384};
      lathe_decode_plan *plan;
      lathe_decode_plan_create(ctx, &desc, &plan);         picks a kernel, or compiles it

      lathe_decode_run(plan, &args, stream);               enqueues, nothing else
      lathe_decode_plan_destroy(plan);
      lathe_context_destroy(ctx);

  MACROS, all optional, the same in every file that includes this header
      LATHE_STATIC       every function becomes static to the file that implements it
      LATHE_NAMESPACE    an identifier put before every public function and kernel, for a second copy
                         in one program: -DLATHE_NAMESPACE=acme_ makes acme_lathe_decode_run

  MEMORY   Descs and args are copied; strings in them too. Zero-initialise them: zero always means the
           default that the field's comment names. The library allocates host memory only, through
           lathe_allocator; device memory is the caller's, the workspace included.
  ERRORS   Every function that can fail returns lathe_status; lathe_last_error() has the rest: codes,
           one sentence that says what failed, with which values, and what would work. Of a desc that
           is refused: reason, field and value, too (docs/refusals.md).
  THREADS  A context may be shared by threads. A plan is used by one thread at a time, and one run may
           be in flight per workspace. Functions say so where they differ.
  STREAMS  Runs, validators and lathe_decode_schedule take one. Runs and the schedule enqueue and return,
           may be captured in a CUDA graph, and read lengths and block tables on the device, so a replay
           sees their new values.
  AROUND   lathe_append_run does the step before: rotates and quantises the query, and writes the new
           rows into the cache. lathe_merge_run does the one after, where keys are in several places.
  CPU      The same API runs on host pointers on a machine without a GPU (LATHE_BACKEND_CPU): plain C,
           exact, slow; the stream is ignored and the result is there on return.

  Environment variables: docs/environment.md. Licence: MIT, see LICENSE.
*/
#ifndef LATHE_H
#define LATHE_H

#include <stddef.h>
#include <stdint.h>

#define LATHE_VERSION_MAJOR 0
#define LATHE_VERSION_MINOR 1
#define LATHE_VERSION_PATCH 0
#define LATHE_VERSION                                                                              \
  (LATHE_VERSION_MAJOR * 10000 + LATHE_VERSION_MINOR * 100 + LATHE_VERSION_PATCH)

#ifdef LATHE_STATIC
#define LATHE_API static __attribute__((unused))
#else
#define LATHE_API extern
#endif

#ifdef LATHE_NAMESPACE
#define LATHEP_PASTE_(a, b) a##b
#define LATHEP_PASTE(a, b) LATHEP_PASTE_(a, b)
#define LATHE_NAME(symbol) LATHEP_PASTE(LATHE_NAMESPACE, symbol)
#define lathe_version LATHE_NAME(lathe_version)
#define lathe_status_string LATHE_NAME(lathe_status_string)
#define lathe_reason_string LATHE_NAME(lathe_reason_string)
#define lathe_last_error LATHE_NAME(lathe_last_error)
#define lathe_log_stderr LATHE_NAME(lathe_log_stderr)
#define lathe_dtype_string LATHE_NAME(lathe_dtype_string)
#define lathe_softmax_scale LATHE_NAME(lathe_softmax_scale)
#define lathe_yarn_mscale LATHE_NAME(lathe_yarn_mscale)
#define lathe_yarn_q_scaling LATHE_NAME(lathe_yarn_q_scaling)
#define lathe_context_create LATHE_NAME(lathe_context_create)
#define lathe_context_destroy LATHE_NAME(lathe_context_destroy)
#define lathe_context_get_info LATHE_NAME(lathe_context_get_info)
#define lathe_decode_check LATHE_NAME(lathe_decode_check)
#define lathe_decode_check_device LATHE_NAME(lathe_decode_check_device)
#define lathe_decode_plan_create LATHE_NAME(lathe_decode_plan_create)
#define lathe_decode_plan_destroy LATHE_NAME(lathe_decode_plan_destroy)
#define lathe_decode_plan_get_info LATHE_NAME(lathe_decode_plan_get_info)
#define lathe_decode_workspace_size LATHE_NAME(lathe_decode_workspace_size)
#define lathe_decode_validate LATHE_NAME(lathe_decode_validate)
#define lathe_decode_schedule LATHE_NAME(lathe_decode_schedule)
#define lathe_decode_run LATHE_NAME(lathe_decode_run)
#define lathe_append_check LATHE_NAME(lathe_append_check)
#define lathe_append_plan_create LATHE_NAME(lathe_append_plan_create)
#define lathe_append_plan_destroy LATHE_NAME(lathe_append_plan_destroy)
#define lathe_append_plan_get_info LATHE_NAME(lathe_append_plan_get_info)
#define lathe_append_validate LATHE_NAME(lathe_append_validate)
#define lathe_append_run LATHE_NAME(lathe_append_run)
#define lathe_merge_check LATHE_NAME(lathe_merge_check)
#define lathe_merge_plan_create LATHE_NAME(lathe_merge_plan_create)
#define lathe_merge_plan_destroy LATHE_NAME(lathe_merge_plan_destroy)
#define lathe_merge_plan_get_info LATHE_NAME(lathe_merge_plan_get_info)
#define lathe_merge_run LATHE_NAME(lathe_merge_run)
#define lathe_kernels LATHE_NAME(lathe_kernels)
#define lathe_cubins LATHE_NAME(lathe_cubins)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* CUDA's own handles, declared here so that no CUDA header is needed: CUstream and cudaStream_t are
   both struct CUstream_st *, CUcontext is struct CUctx_st *. */
struct CUstream_st;
struct CUctx_st;
typedef struct CUstream_st *lathe_stream;
typedef struct CUctx_st *lathe_cuda_context;

/* ---------------------------------------------------------------------------------------- status */

typedef enum lathe_status {
  LATHE_STATUS_OK = 0,
  LATHE_STATUS_INVALID_ARGUMENT,    /* a null, zero, negative, overflowing or misaligned argument */
  LATHE_STATUS_UNSUPPORTED,         /* valid, but nothing here computes it; never done another way */
  LATHE_STATUS_OUT_OF_MEMORY,       /* the host allocator returned null */
  LATHE_STATUS_NO_DEVICE,           /* no libcuda.so.1, no GPU, or no such ordinal */
  LATHE_STATUS_DRIVER_TOO_OLD,      /* libcuda lacks a function that Lathe needs */
  LATHE_STATUS_NVRTC_UNAVAILABLE,   /* a kernel has to be compiled and no usable NVRTC was found */
  LATHE_STATUS_NVRTC_TOO_NEW,       /* NVRTC is newer than the driver, which refuses its output */
  LATHE_STATUS_JIT_DISABLED,        /* a kernel has to be compiled and compilation is switched off */
  LATHE_STATUS_COMPILE_FAILED,      /* NVRTC refused the source; lathe_error.compile_log says why */
  LATHE_STATUS_WORKSPACE_TOO_SMALL, /* args.workspace_size below lathe_decode_workspace_size() */
  LATHE_STATUS_WRONG_CONTEXT,       /* another CUDA context is current than the plan's */
  LATHE_STATUS_CUDA_ERROR,          /* the driver returned lathe_error.driver_code */
  LATHE_STATUS_INVALID_ENVIRONMENT, /* a LATHE_* variable has a value that it does not take */
  LATHE_STATUS_CHECK_FAILED         /* a validator or LATHE_CHECK=1 found a bad length, entry or scale on the device */
} lathe_status;

/* Why a desc of decode, append or merge was refused; docs/refusals.md has them with what works. */
typedef enum lathe_reason {
  LATHE_REASON_NONE = 0,           /* it was not, or the failure is of another kind */
  LATHE_REASON_NULL_ARGUMENT,      /* context or desc */
  LATHE_REASON_NOT_SET,            /* a dtype or a rope that has no default */
  LATHE_REASON_UNKNOWN_VALUE,      /* no enumerator of its enum */
  LATHE_REASON_TOO_SMALL,
  LATHE_REASON_TOO_LARGE,
  LATHE_REASON_NOT_A_MULTIPLE,     /* dims on CUDA; split_len */
  LATHE_REASON_Q_DTYPE,
  LATHE_REASON_KV_DTYPE,           /* with this q_dtype */
  LATHE_REASON_OUT_DTYPE,          /* out_dtype of a decode, q_out_dtype of an append */
  LATHE_REASON_TOO_MANY_ROWS,      /* num_heads x max_q_len */
  LATHE_REASON_WINDOW_MASK,        /* sliding_window with another mask than LATHE_MASK_CAUSAL */
  LATHE_REASON_SPARSE_MASK,        /* sparse_topk with a sliding_window, a tree mask or lengths of all ranks */
  LATHE_REASON_SOFTCAP,            /* logit_softcap; value: its whole part */
  LATHE_REASON_SPLIT_BATCH,        /* max_batch with a split_len */
  LATHE_REASON_SPLIT_PARTS,        /* more partial results than a workspace can hold */
  LATHE_REASON_COMPUTE_CAPABILITY, /* value: 10 * major + minor */
  LATHE_REASON_REGISTERS,          /* field: kv_lora_rank */
  LATHE_REASON_SHARED_MEMORY,      /* of a block; field: the larger of the two dims */
  LATHE_REASON_NAMED_KERNEL,       /* LATHE_KERNEL's does not compute the desc */
  LATHE_REASON_DISABLED,           /* LATHE_DISABLE has what computes it */
  LATHE_REASON_KV_FORMAT,          /* ROW656 with other dtypes or dims */
  LATHE_REASON_ROW_SCALE,          /* without ROW656 */
  LATHE_REASON_ODD_ROPE,           /* qk_rope_head_dim, with a rotation */
  LATHE_REASON_STATE_DTYPE,        /* in_dtype or out_dtype of a merge */
  LATHE_REASON_CP_RANK,
  LATHE_REASON_CP_LENS             /* LATHE_CP_LENS_LOCAL where positions count */
} lathe_reason;

/* The last failure of a call made by this thread. */
typedef struct lathe_error {
  lathe_status status;
  int driver_code;         /* CUresult, 0 if the driver was not at fault */
  int nvrtc_code;          /* nvrtcResult, 0 if NVRTC was not at fault */
  const char *message;     /* what failed, with which values, what would work; never null */
  const char *compile_log; /* NVRTC's log after COMPILE_FAILED, else "" */
  lathe_reason reason;     /* if a desc was refused: why */
  const char *field;       /* the field of the desc that has to change, "" if it is none; never null */
  int64_t value;           /* what it is; dtypes and enums as their number */
} lathe_error;

/* "LATHE_STATUS_OK" and so on. Thread-safe; static storage. */
LATHE_API const char *lathe_status_string(lathe_status status);

/* "LATHE_REASON_NOT_SET" and so on. Thread-safe; static storage. */
LATHE_API const char *lathe_reason_string(lathe_reason reason);

/* The record of this thread's last failure; all zero and "" before the first. Valid until this
   thread's next failing call. Never null. */
LATHE_API const lathe_error *lathe_last_error(void);

/* LATHE_VERSION of the implementation that was linked. Thread-safe. */
LATHE_API int lathe_version(void);

/* ----------------------------------------------------------------------------- logger, allocator */

/* Called with one line, no newline. `topic` is one of "dispatch", "jit", "cache", "launch", "context".
   May be called from any thread that uses the context; must copy what it keeps. */
typedef struct lathe_logger {
  void (*log)(const char *topic, const char *message, void *user_data); /* null: silent */
  void *user_data;
} lathe_logger;

/* A ready-made lathe_logger.log that prints "lathe: topic: message" to stderr. */
LATHE_API void lathe_log_stderr(const char *topic, const char *message, void *user_data);

/* Host memory. Either both functions or neither (null: malloc and free). Thread-safe by contract. */
typedef struct lathe_allocator {
  void *(*alloc)(size_t size, void *user_data); /* null on failure, aligned as malloc aligns */
  void (*free)(void *memory, void *user_data);
  void *user_data;
} lathe_allocator;

/* --------------------------------------------------------------------------------------- context */

typedef enum lathe_backend {
  LATHE_BACKEND_AUTO = 0, /* CUDA if libcuda loads and a device is usable, else CPU */
  LATHE_BACKEND_CUDA,
  LATHE_BACKEND_CPU
} lathe_backend;

typedef enum lathe_switch {
  LATHE_SWITCH_DEFAULT = 0, /* what the environment variable says, else on */
  LATHE_SWITCH_ON,
  LATHE_SWITCH_OFF
} lathe_switch;

typedef enum lathe_image_kind {
  LATHE_IMAGE_NONE = 0,
  LATHE_IMAGE_CUBIN,  /* machine code for exactly one architecture (and later minors of its major) */
  LATHE_IMAGE_PTX,    /* for the driver to finish, on `arch` and every later architecture */
  LATHE_IMAGE_SYMBOL  /* compiled into this program by nvcc */
} lathe_image_kind;

/* One ahead-of-time kernel for one architecture. Made by the generated headers, not by hand. */
typedef struct lathe_kernel_image {
  const char *variant;   /* e.g. "decode_sm80_bf16_bf16_l512r64_m16t32s2x2"; codegen/README.md */
  lathe_image_kind kind;
  int arch;              /* CUBIN, PTX: 10 * major + minor; SYMBOL: 0 */
  int arch_specific;     /* nonzero: an "a" target (sm_90a), for that architecture alone */
  const void *data;      /* CUBIN, PTX: the image; SYMBOL: the kernel's host address */
  size_t size;           /* CUBIN, PTX: bytes of data */
} lathe_kernel_image;

typedef struct lathe_kernel_table {
  int version; /* LATHE_VERSION of the generator; another major or minor is refused */
  size_t num_images;
  const lathe_kernel_image *images;
  /* SYMBOL images: turns a host address into a CUfunction (cudaGetFuncBySymbol); returns cudaError_t */
  int (*get_function)(const void *symbol, void **function);
} lathe_kernel_table;

/* Defined by <lathe/lathe_kernels.cuh>, included in one .cu file that nvcc compiles. */
extern const lathe_kernel_table *lathe_kernels(void);
/* Defined by <lathe/lathe_cubins.h>, included in one .c file. */
extern const lathe_kernel_table *lathe_cubins(void);

/* lathe_context_desc.device for CUDA ordinal n */
#define LATHE_DEVICE(n) ((n) + 1)

typedef struct lathe_context_desc {
  lathe_backend backend; /* 0: LATHE_BACKEND in the environment (auto, cuda, cpu), else AUTO */
  int device;            /* LATHE_DEVICE(n): device n's primary context. 0: the CUDA context current on
                            this thread, and if there is none, device 0's primary context */
  const lathe_kernel_table *kernels; /* ahead-of-time kernels; null: cache and NVRTC only */
  lathe_logger logger;               /* zero: silent, or stderr if LATHE_LOG names topics */
  lathe_allocator allocator;         /* zero: malloc and free */
  const char *cache_dir; /* null: $LATHE_CACHE_DIR, $XDG_CACHE_HOME/lathe, $HOME/.cache/lathe */
  lathe_switch cache;    /* disk cache of compiled kernels; default: LATHE_CACHE, else on */
  lathe_switch jit;      /* compile what is in no table and no cache; default: LATHE_JIT, else on */
  const char *nvrtc_path; /* null: $LATHE_NVRTC_LIB, else libnvrtc.so.N by the driver's version */
} lathe_context_desc;

typedef struct lathe_context lathe_context;

typedef struct lathe_context_info {
  lathe_backend backend; /* CUDA or CPU, never AUTO */
  char device_name[128]; /* "NVIDIA H100 80GB HBM3"; "cpu" on the CPU backend */
  int device;            /* CUDA ordinal; -1 on the CPU backend */
  int compute_major, compute_minor;
  int num_sms;
  size_t shared_memory_per_block; /* opt-in limit, bytes */
  int driver_version;             /* CUDA version of the driver, 1000 * major + 10 * minor; 0: none */
} lathe_context_info;

/* Makes a context. `desc` null is a zero desc. With AUTO, a missing driver or device is not an error:
   the context is a CPU one and the log (topic "context") says why. On failure *context is null.
   Thread-safe. May retain the device's primary context; changes no thread's current context. */
LATHE_API lathe_status lathe_context_create(const lathe_context_desc *desc, lathe_context **context);

/* Frees it; null is ignored. Its plans must be gone. One thread, nothing else using the context. */
LATHE_API void lathe_context_destroy(lathe_context *context);

/* Fills *info. Thread-safe. */
LATHE_API lathe_status lathe_context_get_info(const lathe_context *context,
                                              lathe_context_info *info);

/* ---------------------------------------------------------------------------------------- decode */

typedef enum lathe_dtype {
  LATHE_DTYPE_NONE = 0,
  LATHE_DTYPE_F16,
  LATHE_DTYPE_BF16,
  LATHE_DTYPE_E4M3, /* FP8: 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinity, 0x7f is NaN */
  LATHE_DTYPE_F32
} lathe_dtype;

/* "f16", "bf16", "e4m3", "f32", "none". Thread-safe; static storage. */
LATHE_API const char *lathe_dtype_string(lathe_dtype dtype);

typedef enum lathe_mask {
  LATHE_MASK_CAUSAL = 0, /* new token t of S sees the first max(0, K - S + t + 1) rows */
  LATHE_MASK_NONE,       /* every new token sees all K rows */
  LATHE_MASK_TREE        /* every new token sees the first max(0, K - S) rows, and of the others, which are
                            the new tokens' own, those that args.tree_mask names */
} lathe_mask;

/* What lengths count under decode context parallelism. */
typedef enum lathe_cp_lens {
  LATHE_CP_LENS_GLOBAL = 0, /* the rows of a request on all ranks */
  LATHE_CP_LENS_LOCAL       /* those on this rank, all of which every token sees: for max_q_len 1 or
                               LATHE_MASK_NONE, without sliding_window. Kernels then need not know of ranks,
                               but for rank 0's with attention_sinks: Hopper's are among them */
} lathe_cp_lens;

typedef enum lathe_lse_base {
  LATHE_LSE_NATURAL = 0, /* ln(sum(exp(z))) */
  LATHE_LSE_BASE2        /* log2(sum(exp(z))) */
} lathe_lse_base;

typedef enum lathe_kv_format {
  LATHE_KV_FORMAT_PLAIN = 0, /* a row is L + R elements of kv_dtype, or L and R in two caches */
  LATHE_KV_FORMAT_ROW656     /* a row is 656 bytes: 512 e4m3, 4 fp32, 64 bf16. Elements 128 g to
                                128 g + 127 of the latent are e4m3 times fp32 g, rounded to the nearest bf16 (as
                                FlashMLA reads such rows); the bf16 are the roped part. kv_dtype E4M3, q_dtype BF16, L = 512, R = 64 */
} lathe_kv_format;

/* What a plan is for. Fixed per model and rank; lengths, pointers and strides come with each run. */
typedef struct lathe_decode_desc {
  int32_t num_heads;        /* H, query heads on this rank, 1 and up; required */
  int32_t kv_lora_rank;     /* L, elements of the latent (and of an output row); required */
  int32_t qk_rope_head_dim; /* R, elements of the roped part of a row; 0 for models without rope */
  lathe_dtype q_dtype;      /* F16, BF16, or beside an E4M3 cache E4M3 with args.q_scale; required */
  lathe_dtype kv_dtype;     /* = q_dtype, or E4M3 with args.kv_scale; required */
  lathe_dtype out_dtype;    /* F16, BF16, or E4M3 with args.out_scale; 0: q_dtype, BF16 for E4M3 */
  int32_t page_size;        /* rows of a page, 1 and up; required */
  int32_t max_batch;        /* most requests of a run; required */
  int32_t max_q_len;        /* most new tokens of a request; 0: 1 */
  int32_t max_seq_len;      /* most KV rows of a request, new ones included, as seq_lens counts them; required */
  lathe_mask mask;          /* 0: causal over the new tokens */
  lathe_lse_base lse_base;  /* 0: natural */
  int32_t num_sms;          /* multiprocessors that launches are sized for; 0, or more than the device
                               has: all of them */
  int32_t split_len;        /* 0: a run cuts its requests where that balances the work, so that a
                               request's last bits depend on the batch around it. Else a multiple of
                               64: a request is cut at every so many KV rows, and its bits depend on
                               itself alone; what that costs: see lathe_decode_run() */

  /* options: a kernel without them pays nothing for them */
  int32_t sliding_window;   /* positions that a token sees at most, the last one its own: at position p
                               p - sliding_window + 1 to p. 0: all. Causal masks alone. What no token
                               of a request sees is not read, table entries included */
  float logit_softcap;      /* c > 0: a logit z becomes c * tanh(z / c), 1e-30 to 1e30. 0: none */
  int32_t attention_sinks;  /* nonzero: runs give args.sinks. 0: none */
  int32_t softmax_scale_on_device; /* nonzero: runs give args.softmax_scale_at, and their softmax_scale
                               is not read. 0: the other way round */
  lathe_kv_format kv_format;  /* 0: plain */
  int32_t sparse_topk;      /* entries of a token's list of cache rows, which it sees and no others: see
                               args.sparse_indices. 0: no lists. Not with sliding_window, a tree mask or lengths of
                               all ranks */

  /* decode context parallelism: W ranks have the rows of each request, I positions in turn. Position g is
     on rank g / I % W, as row g / (I W) I + g % I of that rank's pages. Plans of all ranks are alike but for
     cp_rank; each run gets the whole query, and lathe_merge_run joins what they write. With several ranks
     args.lse is required. Masks and sliding_window go by position: exact. lathe_append_run puts rows where they
     belong by args.slot_mapping, negative for those of other ranks */
  int32_t cp_world;         /* W. 0 or 1: all rows are here */
  int32_t cp_rank;          /* this rank, 0 to W - 1 */
  int32_t cp_interleave;    /* I, positions that follow each other on a rank. 0: 1 */
  lathe_cp_lens cp_lens;    /* what args.seq_lens and max_seq_len count. 0: rows on all ranks */
} lathe_decode_desc;

typedef struct lathe_decode_plan lathe_decode_plan;

typedef enum lathe_kernel_source {
  LATHE_KERNEL_SOURCE_NONE = 0, /* the CPU backend, compiled into the program */
  LATHE_KERNEL_SOURCE_AHEAD_OF_TIME,
  LATHE_KERNEL_SOURCE_MEMORY, /* another plan of the context had made it */
  LATHE_KERNEL_SOURCE_CACHE,  /* the disk cache */
  LATHE_KERNEL_SOURCE_NVRTC   /* compiled now */
} lathe_kernel_source;

typedef struct lathe_decode_plan_info {
  lathe_backend backend;
  char kernel[128];       /* variant name; "decode_cpu" on the CPU backend */
  char merge_kernel[128]; /* variant that merges split-KV partials; "" on the CPU backend, and where
                             no run leaves any */
  char schedule_kernel[128]; /* variant that lathe_decode_schedule() launches; "" on the CPU backend */
  lathe_kernel_source source;
  int registers;               /* per thread */
  int local_bytes;             /* per thread: spills and stack */
  int shared_bytes;            /* per block, static and dynamic */
  int threads;                 /* per block */
  int blocks;                  /* of the attention kernel's grid */
  int splits;                  /* parts the KV work of a run is cut into at most; with desc.split_len:
                                  max_batch * ceil(rows / split_len), of max_seq_len rows, or as many of
                                  these as rank 0 has; with lists max_batch * max_q_len * ceil(sparse_topk /
                                  split_len) */
  size_t workspace_size;       /* bytes */
  const char *candidates;      /* one line per kernel considered: name, taken or why not; the plan's */
} lathe_decode_plan_info;

/* One step. Tensors are device pointers (CUDA; rows 16-byte aligned) or host pointers (CPU). Strides are in elements of the
   tensor; 0 means packed, as each comment says; Hopper's kernels take cache strides below 2^39. D = L + R.
   tokens: sum of the requests' new tokens. */
typedef struct lathe_decode_args {
  int32_t batch; /* B, 1 to max_batch */
  int32_t q_len; /* S of every request, 1 to max_q_len; 0: max_q_len. Not read with cu_q_lens */
  const int32_t *cu_q_lens; /* null, or int32 [B + 1]: request i has tokens cu[i] to cu[i + 1] - 1 */
  int32_t num_tokens;       /* rows of q, out and lse; 0: B * q_len (B * max_q_len with cu_q_lens). With
                               desc.sparse_topk max_batch * max_q_len at most */

  /* query, already absorbed (q_nope times W_UK) and rotated */
  const void *q;               /* [tokens, H, D]; with q_pe set: q_nope [tokens, H, L] */
  const void *q_pe;            /* null: columns L to D - 1 of q; else [tokens, H, R] */
  int64_t q_token_stride;      /* 0: H * (elements of a q row) */
  int64_t q_head_stride;       /* 0: elements of a q row: D, or L with q_pe */
  int64_t q_pe_token_stride;   /* 0: H * R */
  int64_t q_pe_head_stride;    /* 0: R */

  /* paged cache: page p of request i is block_tables[i][p], its row s is position p * page_size + s */
  const void *kv_cache;        /* [pages, page_size, D]; with kpe_cache set: [pages, page_size, L] */
  const void *kpe_cache;       /* null: columns L to D - 1 of kv_cache, and of ROW656 rows; else
                                  [pages, page_size, R] */
  int64_t kv_page_stride;      /* 0: page_size * kv_row_stride; of ROW656 rows both are in bytes, and rows are
                                  16-byte aligned on the CPU, too */
  int64_t kv_row_stride;       /* 0: D, or L with kpe_cache, or 656 */
  int64_t kpe_page_stride;     /* 0: page_size * kpe_row_stride */
  int64_t kpe_row_stride;      /* 0: R */
  int64_t num_pages;           /* pages in the cache: a table entry outside [0, num_pages) reads as a page
                                  of zeros. 0: entries are trusted */
  const int32_t *block_tables; /* int32 [B, block_table_stride]; entries past a request's pages unread */
  int64_t block_table_stride;  /* entries of a row; 0: ceil(rows / page_size), of max_seq_len rows, or as many of
                                  these as rank 0 has */
  const int32_t *seq_lens;     /* int32 [B]: K, KV rows including the new ones. Clamped to [0, max_seq_len], and
                                  to what block_table_stride pages have room for: below the position of
                                  row block_table_stride * page_size */

  float softmax_scale;         /* on q . k, > 0: see lathe_softmax_scale(); required */
  const float *softmax_scale_at; /* with desc.softmax_scale_on_device: fp32, one; read in every run and replay.
                                  Above 0, and times kv_scale and q_scale a float that is neither
                                  denormal nor infinite, or what the run writes to out and lse is
                                  anything. Else null */
  float kv_scale;              /* E4M3 plain cache: a stored value times kv_scale is the real one. 0: 1 */
  float q_scale;               /* E4M3 query: the same of it. 0: 1 */
  float out_scale;             /* E4M3 output: the same; what is stored is rounded once to nearest even and
                                  saturates at 448. 0: 1 */

  const int32_t *sparse_indices; /* with desc.sparse_topk: int32 [tokens, sparse_topk], the rows that a token sees, all
                                  of its heads: row s of page p is p * page_size + s, whoever's it is. In
                                  any order; negative entries are passed over, as are those past num_pages;
                                  a row named twice counts twice. desc.mask has no say: leave out what a
                                  token must not see. Else null. Every token up to num_tokens has a list;
                                  block_tables, seq_lens and cu_q_lens are not read */
  int64_t sparse_token_stride; /* 0: sparse_topk */
  const int32_t *sparse_lens;  /* null: sparse_topk of each; or int32 [tokens]: entries of the lists that are
                                  read, clamped to [0, sparse_topk]; 0 for a token that is padding */

  const float *sinks;          /* with desc.attention_sinks: fp32 [H], the logit of a head's sink, neither scaled
                                  nor capped; -inf: the head has none. Else null. Of several ranks, rank 0
                                  adds them, and the others do not read them */
  const uint32_t *tree_mask;   /* with LATHE_MASK_TREE: uint32 [num_tokens, tree_mask_stride], read in every run and
                                  replay. Bit j % 32 of word j / 32 of a token's row: it sees new token j of its
                                  own request, of S. Taken as it is: a token that sees itself has that bit,
                                  too. Bits past S count for nothing. Else null */
  int64_t tree_mask_stride;    /* words of a token's row; 0: ceil(max_q_len / 32) */

  void *out;                   /* [tokens, H, L]; zero where a token sees no row */
  int64_t out_token_stride;    /* 0: H * L */
  int64_t out_head_stride;     /* 0: L */
  float *lse;                  /* null, or fp32 [tokens, H]; -inf where a token sees no row */
  int64_t lse_token_stride;    /* 0: H */
  int64_t lse_head_stride;     /* 0: 1 */

  void *workspace;             /* lathe_decode_workspace_size() bytes, 256-byte aligned, any content */
  size_t workspace_size;

  int32_t programmatic_launch; /* nonzero: the attention kernel may start while the kernel before it on
                                  the stream ends; what that asks of the caller: see lathe_decode_run().
                                  UNSUPPORTED below compute capability 9.0. The CPU has no stream and
                                  does not read it */
  int32_t scheduled;           /* nonzero: the workspace has the schedule that lathe_decode_schedule() made
                                  of this plan and of the same batch, lengths and q_lens. The CPU has
                                  none and does not read it */
} lathe_decode_args;

/* Says whether a plan can be made for `desc` here, before anything is compiled: OK, INVALID_ARGUMENT or
   UNSUPPORTED; lathe_last_error() then has reason, field, value and message. lathe_decode_plan_create()
   refuses the same for the same reason. Thread-safe. */
LATHE_API lathe_status lathe_decode_check(const lathe_context *context,
                                          const lathe_decode_desc *desc);

/* A device that is asked about; lathe_context_info has these of one that is there. */
typedef struct lathe_device_desc {
  int compute_major, compute_minor; /* compute capability: 9, 0 for an H100; required */
  size_t shared_memory_per_block;   /* opt-in limit, bytes: 232448 for an H100; required */
} lathe_device_desc;

/* lathe_decode_check() for a device that need not be there, with a driver of CUDA 12 or later: needs no GPU,
   no driver, no context, and reads no environment. `device` null: the CPU backend. Same results, by the
   same code. Thread-safe. */
LATHE_API lathe_status lathe_decode_check_device(const lathe_device_desc *device,
                                                 const lathe_decode_desc *desc);

/* Picks the kernels, loads or compiles them (seconds at worst). After it, no run compiles, loads or
   allocates. On failure *plan is null. Thread-safe: two threads wanting one kernel compile it once. */
LATHE_API lathe_status lathe_decode_plan_create(lathe_context *context,
                                                const lathe_decode_desc *desc,
                                                lathe_decode_plan **plan);

/* Frees it; null is ignored. No run may be in flight. */
LATHE_API void lathe_decode_plan_destroy(lathe_decode_plan *plan);

LATHE_API lathe_status lathe_decode_plan_get_info(const lathe_decode_plan *plan,
                                                  lathe_decode_plan_info *info);

/* Bytes of device memory that a run needs: depends on the plan alone; 0 on the CPU backend. The buffer
   needs no clearing, and one may serve many plans whose runs follow each other on a stream. */
LATHE_API size_t lathe_decode_workspace_size(const lathe_decode_plan *plan);

/* Checks args as run does and then what lies on the device: lengths, of lists too, cu_q_lens, every table
   or list entry that will be read, and softmax_scale_at. Synchronises `stream`; not for capture.
   CHECK_FAILED names request or token, and entry.
   With args.scheduled it also checks that the workspace's schedule is one of these lengths.
   run calls it first if LATHE_CHECK=1 and the stream is not being captured. */
LATHE_API lathe_status lathe_decode_validate(lathe_decode_plan *plan,
                                             const lathe_decode_args *args, lathe_stream stream);

/* Computes, per token t of request i and head h,
       z_j = softmax_scale * (q . k_j)      k_j the whole row j, visible rows by desc.mask
       out = sum_j softmax(z)_j * v_j       v_j the first L elements of row j
   (DeepSeek-V2, arXiv 2405.04434, section 2.1, in the absorbed form). With desc.sliding_window W token t
   of S sees of those rows the last W, which end at its own position K - S + t; with
   desc.sparse_topk it sees instead what its list names (DeepSeek-V3.2-Exp, section 2.1). With desc.logit_softcap c
   each z_j is then replaced by c * tanh(z_j / c) (Gemma 2, arXiv 2408.00118, section 2), lse's too. With
   desc.attention_sinks a head's sink s adds exp(s) to the denominator of the softmax and nothing to out and
   lse, so that out is what it is without, times exp(lse) / (exp(lse) + exp(s)). Results that are joined by
   their lse afterwards need that once, of the whole: run without sinks, join, then multiply by it. Or, with
   desc.cp_world, do nothing: rank 0 takes a sink for a key whose value is 0, which therefore is in its lse,
   and in the lse that lathe_merge_run joins: there alone an lse has the sinks. A row that one new token of a
   request sees has to be finite, or on CUDA the out of its others may be NaN, too: with LATHE_MASK_CAUSAL
   those before it, with sliding_window those after it. With LATHE_MASK_TREE all rows before K are read, those
   of new tokens that nobody sees too: the same goes for them. Enqueues one or two kernels on
   `stream` (null: the default stream) of the plan's CUDA context, which must be current or none be;
   errors on the device surface at the caller's next synchronisation. Same inputs, same bits.

   args.programmatic_launch saves launch latency between kernels that follow each other, in a stream and
   in a graph captured from one, by programmatic dependent launch: the attention kernel is enqueued with
   CUDA's attribute for programmatic stream serialization, gets its barriers ready while the kernel
   before it still runs, and reads and writes no global memory until that kernel is done and all its
   writes can be seen: inputs, lengths and tables may come from it. It need not know of this; if it lets
   its dependents start early (griddepcontrol.launch_dependents), nothing more is asked for. But
   the wait is for that one kernel: if it was itself launched with the attribute, each of its blocks
   must have waited (griddepcontrol.wait, cudaGridDependencySynchronize) before it ended, or what came
   before it may still be running. Lathe's kernels do so; runs of any plans may follow each other, and
   share a workspace, as without it. Thread and stream rules are the same.
   After a run, programmatic or not, a kernel that you launch with the attribute must wait likewise
   before it touches what the run reads or writes.

   desc.split_len makes a request's out and lse the same bits in every run of the plan in which its own
   inputs are the same, whatever the other requests, its place in the batch and its pages. (The CPU's always
   are.) It costs workspace for as many partial results as lathe_decode_plan_info.splits says instead of two
   a group of multiprocessors; partial results and a merge for every request longer than split_len, even
   where the batch would fill the device without; and balance, since a part is never shared: with fewer
   parts than multiprocessors, the rest of them idle. A split_len of max_seq_len (with
   lists sparse_topk) or more splits nothing. On CUDA max_batch (with lists times max_q_len) may be 1024 at most. */
LATHE_API lathe_status lathe_decode_run(lathe_decode_plan *plan, const lathe_decode_args *args,
                                        lathe_stream stream);

/* Makes the schedule of a step, once for all of its layers: which multiprocessor works on which part of
   which request. Every run otherwise derives it, which takes each about 2 us. Enqueues one small kernel on
   `stream`, before the runs, which then set args.scheduled; their results are the same bits as without.
   Of args it reads batch, q_len, cu_q_lens, num_tokens, seq_lens, block_table_stride, workspace,
   workspace_size and programmatic_launch, with desc.sparse_topk sparse_lens for cu_q_lens and seq_lens, and these but the last must be the same in the runs, the lengths'
   values included; the rest may be zero. The schedule lies in the workspace, where the plan's runs leave
   it alone, and is good until a length changes: make it again in each step, first in the step's graph if
   there is one. Another plan's run or schedule in the same workspace destroys it. A run that is told of a
   schedule where there is none, or none of its lengths, reads and writes anywhere; LATHE_CHECK=1 finds it.
   On the CPU backend it checks args and does nothing. Same thread and stream rules as lathe_decode_run. */
LATHE_API lathe_status lathe_decode_schedule(lathe_decode_plan *plan, const lathe_decode_args *args,
                                             lathe_stream stream);

/* ---------------------------------------------------------------------------------------- append */

/* Which elements of a roped part turn together, and where they stay: element pairs are rotated in
   place. It is the model's: a wrong one gives wrong attention and no error. */
typedef enum lathe_rope {
  LATHE_ROPE_UNSET = 0,
  LATHE_ROPE_INTERLEAVED, /* 2 i with 2 i + 1 ("GPT-J"): DeepSeek-V3; rope_interleave in configs */
  LATHE_ROPE_HALF_SPLIT,  /* i with i + R / 2 ("NeoX"): openPangu V2 */
  LATHE_ROPE_NONE         /* nothing is rotated: NoPE models whose rows have R elements all the same,
                             such as Kimi-Linear */
} lathe_rope;

/* How the fp32 of a ROW656 row is chosen: m = max(largest magnitude of its 128 / 448, 2^-126). */
typedef enum lathe_row_scale {
  LATHE_ROW_SCALE_F32 = 0, /* m */
  LATHE_ROW_SCALE_POW2     /* the least power of two that is m or more (UE8M0) */
} lathe_row_scale;

typedef struct lathe_append_desc {
  int32_t num_heads;        /* H, query heads on this rank; required */
  int32_t kv_lora_rank;     /* L, elements of the latent; required */
  int32_t qk_rope_head_dim; /* R, elements of the roped part, even; 0 for models without */
  lathe_dtype q_dtype;      /* F16 or BF16: of q_nope, q_pe, latent_cache and k_pe; required */
  lathe_dtype kv_dtype;     /* of the cache: q_dtype, or E4M3; required */
  lathe_dtype q_out_dtype;  /* of the query written: q_dtype, or E4M3 if kv_dtype is; 0: q_dtype */
  lathe_kv_format kv_format;  /* 0: plain */
  lathe_row_scale row_scale;  /* ROW656 only; 0: fp32 */
  lathe_rope rope;            /* required if R > 0, else not read */
  int32_t page_size;          /* rows of a page; required */
  int32_t max_batch;          /* most requests of a run; required */
  int32_t max_q_len;          /* most new tokens of a request; 0: 1 */
  int32_t max_seq_len;        /* most KV rows of a request, new ones included; required */
  int32_t max_positions;      /* rows of args.cos_sin; 0: max_seq_len */
} lathe_append_desc;

typedef struct lathe_append_plan lathe_append_plan;

typedef struct lathe_append_plan_info {
  lathe_backend backend;
  char kernel[128]; /* variant name; "append_cpu" on the CPU backend */
  lathe_kernel_source source;
  int registers;    /* per thread */
  int local_bytes;  /* per thread: spills and stack */
  int shared_bytes; /* per block */
  int threads;      /* per block */
} lathe_append_plan_info;

/* The step before lathe_decode_run: new rows into the cache, the query into the form that decode reads.
   Tensors are device pointers (CUDA; rows 16-byte aligned) or host pointers (CPU). Strides are in elements
   of the tensor (of a ROW656 cache: bytes); 0 means packed. Tokens belong to requests as in lathe_decode_args; of other
   tokens nothing is written. Two tokens must not have one place in the cache: which of them is kept is
   not said. D = L + R. */
typedef struct lathe_append_args {
  int32_t batch;            /* B, 1 to max_batch */
  int32_t q_len;            /* S of every request, 1 to max_q_len; 0: max_q_len. Not read with cu_q_lens */
  const int32_t *cu_q_lens; /* null, or int32 [B + 1], ascending: request i has tokens cu[i] to
                               cu[i + 1] - 1 */
  int32_t num_tokens;       /* rows of the tensors; 0: B * q_len (B * max_q_len with cu_q_lens) */

  /* query in. Neither: only cache rows are written */
  const void *q_nope;         /* [tokens, H, L], absorbed; null: it is in its place in q_out already, which
                                 an E4M3 query cannot be */
  const void *q_pe;           /* [tokens, H, R], to be rotated; required with q_nope if R > 0 */
  int64_t q_nope_token_stride; /* 0: H * L */
  int64_t q_nope_head_stride;  /* 0: L */
  int64_t q_pe_token_stride;   /* 0: H * R */
  int64_t q_pe_head_stride;    /* 0: R */

  /* query out */
  void *q_out;                 /* [tokens, H, D]; with q_pe_out: [tokens, H, L], null without q_nope */
  void *q_pe_out;              /* null: columns L to D - 1 of q_out; else [tokens, H, R]. May be q_pe with
                                  the same strides if the dtype is the same */
  int64_t q_out_token_stride;  /* 0: H * (elements of a q_out row) */
  int64_t q_out_head_stride;   /* 0: elements of a q_out row: D, or L with q_pe_out */
  int64_t q_pe_out_token_stride; /* 0: H * R */
  int64_t q_pe_out_head_stride;  /* 0: R */

  /* new rows in: the normed latent and k_pe, not yet rotated */
  const void *latent_cache;    /* [tokens, D]; with k_pe: [tokens, L]. Null: only the query is written */
  const void *k_pe;            /* null: columns L to D - 1 of latent_cache; else [tokens, R] */
  int64_t latent_token_stride; /* 0: D, or L with k_pe */
  int64_t k_pe_token_stride;   /* 0: R */

  /* paged cache, as in lathe_decode_args. Not read without latent_cache */
  void *kv_cache;
  void *kpe_cache;             /* null with ROW656 */
  int64_t kv_page_stride;      /* 0: page_size * kv_row_stride */
  int64_t kv_row_stride;       /* 0: D, or L with kpe_cache; ROW656: 656 */
  int64_t kpe_page_stride;     /* 0: page_size * kpe_row_stride */
  int64_t kpe_row_stride;      /* 0: R */
  int64_t num_pages;           /* pages in the cache: a row of a page outside [0, num_pages) is not
                                  written. 0: page numbers that are not negative are trusted */
  const int32_t *block_tables; /* int32 [B, block_table_stride]; only entries of rows that are written are
                                  read. Not read with slot_mapping */
  int64_t block_table_stride;  /* entries of a row; 0: ceil(max_seq_len / page_size) */

  /* where a token is. Its position is K - S + t for token t of its request's S, and its row is at that
     position of the block table, if that is in [0, min(max_seq_len, block_table_stride * page_size)) */
  const int32_t *seq_lens;     /* int32 [B]: K, KV rows including the new ones, clamped as in
                                  lathe_decode_args; required without positions */
  const int32_t *positions;    /* null, or int32 [tokens]: positions instead of K - S + t */
  const int64_t *slot_mapping; /* null, or int64 [tokens]: the row is row slot % page_size of page
                                  slot / page_size; negative: not written */
  const int32_t *inactive;     /* null, or int32 [B]: nonzero where the request's rows are not to be
                                  written here (another rank has them). Its query is */
  const float *cos_sin;        /* fp32 [max_positions, R]: R / 2 cosines, then R / 2 sines, of pair 0, 1 ...
                                  Positions are clamped to [0, max_positions). Not read with ROPE_NONE */
  int64_t cos_sin_row_stride;  /* 0: R */

  /* a value divided by its scale is what is stored, rounded to e4m3, at most 448: x * (1 / scale), both
     in fp32; any NaN is 0x7f. As in lathe_decode_args, a stored value times the scale is the real one */
  float q_scale;               /* E4M3 query. 0: 1 */
  float kv_scale;              /* E4M3 plain cache. 0: 1 */
  const float *q_scale_device;  /* null, or fp32 [1] read by the run in place of q_scale */
  const float *kv_scale_device; /* null, or fp32 [1] read by the run in place of kv_scale */
  float softmax_scale;         /* as in lathe_decode_args; required with scales_out */
  float *scales_out;           /* null, or fp32 [3], written for attention that reads its scales on the
                                  device: softmax_scale * q_scale * kv_scale, the scale on products of
                                  stored values; this times log2(e); kv_scale, the scale on the output.
                                  q_scale counts if the query is E4M3, kv_scale if the cache is and plain:
                                  else they are 1. lathe_decode_run takes the first as softmax_scale_at,
                                  with q_scale and kv_scale 0; the third it does not read: its out is then
                                  in units of stored values, for the caller to multiply. lse is as ever */

  int32_t programmatic_launch; /* nonzero: may start while the kernel before it on the stream ends: see
                                  lathe_decode_run(). UNSUPPORTED below compute capability 9.0 */
} lathe_append_args;

/* Says whether a plan can be made for `desc` here, before anything is compiled: OK, INVALID_ARGUMENT or
   UNSUPPORTED, with the reason in lathe_last_error(). Thread-safe. */
LATHE_API lathe_status lathe_append_check(const lathe_context *context,
                                          const lathe_append_desc *desc);

/* Loads or compiles the kernel. After it, no run compiles, loads or allocates. On failure *plan is null.
   Thread-safe. */
LATHE_API lathe_status lathe_append_plan_create(lathe_context *context,
                                                const lathe_append_desc *desc,
                                                lathe_append_plan **plan);

/* Frees it; null is ignored. No run may be in flight. */
LATHE_API void lathe_append_plan_destroy(lathe_append_plan *plan);

LATHE_API lathe_status lathe_append_plan_get_info(const lathe_append_plan *plan,
                                                  lathe_append_plan_info *info);

/* Checks args as run does and then what lies on the device: lengths, cu_q_lens, positions, slots, scales and
   every table entry that will be read. Synchronises `stream`; not for capture. CHECK_FAILED names request
   or token and entry. run calls it first if LATHE_CHECK=1 and the stream is not being captured. */
LATHE_API lathe_status lathe_append_validate(lathe_append_plan *plan,
                                             const lathe_append_args *args, lathe_stream stream);

/* Rotates pair (a, b) of position p to (a c - b s, b c + a s), c and s of row p of cos_sin, in fp32,
   and rounds once (RoFormer, arXiv 2104.09864, equation 34); writes rows and query. One kernel on
   `stream`, under the rules of lathe_decode_run(): context, capture, replay with other lengths, errors,
   programmatic launch. Same inputs, same bits. */
LATHE_API lathe_status lathe_append_run(lathe_append_plan *plan, const lathe_append_args *args,
                                        lathe_stream stream);

/* ----------------------------------------------------------------------------------------- merge */

enum { LATHE_MERGE_MAX_STATES = 64 };

typedef struct lathe_merge_desc {
  int32_t num_heads;     /* H; required */
  int32_t kv_lora_rank;  /* L, elements of an output row; required */
  lathe_dtype in_dtype;  /* F16, BF16 or F32: of the states' outputs; required */
  lathe_dtype out_dtype; /* F16, BF16 or F32; 0: in_dtype */
  lathe_lse_base lse_base; /* of all lse, in and out; 0: natural */
} lathe_merge_desc;

typedef struct lathe_merge_plan lathe_merge_plan;

typedef struct lathe_merge_plan_info {
  lathe_backend backend;
  char kernel[128]; /* variant name; "merge_cpu" on the CPU backend */
  lathe_kernel_source source;
  int registers;    /* per thread */
  int local_bytes;  /* per thread: spills and stack */
  int shared_bytes; /* per block */
  int threads;      /* per block */
} lathe_merge_plan_info;

/* Attention over some of the keys: what lathe_decode_run gives with those alone. */
typedef struct lathe_merge_state {
  const void *out;  /* [tokens, H, L]; not read where its lse is -inf */
  const float *lse; /* fp32 [tokens, H]; -inf where it saw no key */
} lathe_merge_state;

/* Tensors are device pointers (CUDA; rows 16-byte aligned) or host pointers (CPU), the array of states is
   the host's. Strides are in elements of the tensor, the same in every state; 0 means packed. Inputs and outputs may not
   overlap. */
typedef struct lathe_merge_args {
  int32_t num_tokens;              /* required */
  int32_t num_states;              /* n, 1 to LATHE_MERGE_MAX_STATES */
  const lathe_merge_state *states; /* [n], copied */
  int64_t in_token_stride;         /* of every out of a state. 0: H * L */
  int64_t in_head_stride;          /* 0: L */
  int64_t in_lse_token_stride;     /* of every lse of a state. 0: H */
  int64_t in_lse_head_stride;      /* 0: 1 */
  void *out;                       /* [tokens, H, L]; zero where no state saw a key */
  int64_t out_token_stride;        /* 0: H * L */
  int64_t out_head_stride;         /* 0: L */
  float *lse;                      /* null, or fp32 [tokens, H]; -inf where no state saw a key */
  int64_t lse_token_stride;        /* 0: H */
  int64_t lse_head_stride;         /* 0: 1 */
  int32_t programmatic_launch;     /* as in lathe_append_args */
} lathe_merge_args;

/* As lathe_append_check(). Thread-safe. */
LATHE_API lathe_status lathe_merge_check(const lathe_context *context,
                                         const lathe_merge_desc *desc);

/* As lathe_append_plan_create(). Thread-safe. */
LATHE_API lathe_status lathe_merge_plan_create(lathe_context *context, const lathe_merge_desc *desc,
                                               lathe_merge_plan **plan);

/* Frees it; null is ignored. No run may be in flight. */
LATHE_API void lathe_merge_plan_destroy(lathe_merge_plan *plan);

LATHE_API lathe_status lathe_merge_plan_get_info(const lathe_merge_plan *plan,
                                                 lathe_merge_plan_info *info);

/* Joins attention over parts of the keys (ranks of context parallelism; a shared prefix and what
   follows) into attention over all of them, per token and head:
       lse = log(sum_i exp(lse_i))        out = sum_i exp(lse_i - lse) * out_i
   Exact where one state alone saw keys: its bits, if the dtypes are the same. An lse of NaN or +inf gives
   NaN. States are added in their order: same inputs, same bits. One kernel on `stream`, under the
   rules of lathe_decode_run(): context, capture, errors, programmatic launch. */
LATHE_API lathe_status lathe_merge_run(lathe_merge_plan *plan, const lathe_merge_args *args,
                                       lathe_stream stream);

/* ---------------------------------------------------------------------------------------- scales */

/* 1 / (q_scaling * sqrt(qk_nope_head_dim + qk_rope_head_dim)): the dims before absorption (128 and 64
   for DeepSeek-V3), not L + R. q_scaling 0 is 1. Thread-safe. */
LATHE_API float lathe_softmax_scale(int qk_nope_head_dim, int qk_rope_head_dim, float q_scaling);

/* YaRN's attention factor m = 0.1 * mscale_all_dim * ln(factor) + 1 for factor > 1, else 1
   (arXiv 2309.00071, equation 22, with DeepSeek's mscale_all_dim). Thread-safe. */
LATHE_API float lathe_yarn_mscale(float factor, float mscale_all_dim);

/* The q_scaling that puts YaRN's m * m into lathe_softmax_scale(): 1 / m^2. Thread-safe. */
LATHE_API float lathe_yarn_q_scaling(float factor, float mscale_all_dim);

#ifdef __cplusplus
}
#endif

#endif /* LATHE_H */

#if defined(LATHE_IMPLEMENTATION) && !defined(LATHEP_IMPLEMENTED)
#define LATHEP_IMPLEMENTED
#include "lathe_impl.h"
#endif
