// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Caches larger than 2^32 bytes and 2^32 elements: pages so far apart that any 32-bit product of
// page and stride lands elsewhere, in memory that holds NaN.
#include "device.h"
#include "oracle.h"

// The problem's pages, copied to `count` places `stride` elements apart; the tables renumbered.
static void far_pages(int split, long long stride, long long count, lathe_dtype kv) {
  lathe_context *context;
  device_problem device;
  problem p;
  lathe_decode_plan *plan;
  shape s;
  ref_random random = {11};
  long long page, pages, row, page_bytes, bytes = stride * count * (int)ref_dtype_size(kv);
  int32_t *place;
  size_t free_bytes, total, i;
  char name[256];
  gpu_pointer cache, rope = 0;
  memset(&s, 0, sizeof s);
  memset(&device, 0, sizeof device);
  s.batch = 2;
  s.q_len = 1;
  s.num_heads = 16;
  s.kv_len = 100;
  s.page_size = 16;
  s.l = 512;
  s.r = 64;
  s.q = s.out = LATHE_DTYPE_BF16;
  s.kv = kv;
  s.split_kv = split;
  s.lse = 1;
  s.seed = 3;
  gpu_must(gpu.memory_info(&free_bytes, &total));
  if ((double)free_bytes < (double)bytes * (split ? 2 : 1) + 1e9) {
    snprintf(name, sizeof name, "%.1f GB of device memory free, %.1f needed",
             (double)free_bytes / 1e9, (double)bytes * (split ? 2 : 1) / 1e9);
    gpu_skip(name);
    return;
  }
  context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem_make(&p, &s);
  problem_name(&p, name, sizeof name);
  plan = make_plan(context, &p.desc);
  if (!plan)
    return;
  device_upload(&device, &p, lathe_decode_workspace_size(plan));
  cache = gpu_alloc((size_t)bytes);
  gpu_must(gpu.fill8(cache, 0xff, (size_t)bytes));
  if (split) {
    rope = gpu_alloc((size_t)bytes);
    gpu_must(gpu.fill8(rope, 0xff, (size_t)bytes));
  }
  // Places: the last ones for sure, the others anywhere.
  row = (split ? s.l : s.l + s.r) * (int)ref_dtype_size(kv);
  page_bytes = row * s.page_size;
  pages = (long long)p.kv_size / page_bytes;
  place = (int32_t *)ref_alloc(sizeof(int32_t) * (size_t)count);
  for (page = 0; page < count; page++)
    place[page] = (int32_t)(count - 1 - page);
  if (count > pages) // else every place is used
    for (page = pages / 2; page < pages; page++) {
      long long other = page + ref_below(&random, count - page);
      int32_t swap = place[page];
      place[page] = place[other];
      place[other] = swap;
    }
  for (page = 0; page < pages && page < count; page++) {
    gpu_pointer at = (gpu_pointer)(place[page] * stride * (int)ref_dtype_size(kv));
    gpu_must(gpu.upload(cache + at, p.kv + page * page_bytes, (size_t)page_bytes));
    if (split) {
      long long rope_bytes = s.r * s.page_size * (int)ref_dtype_size(kv);
      gpu_must(gpu.upload(rope + at, p.kpe + page * rope_bytes, (size_t)rope_bytes));
    }
  }
  {
    int32_t *tables = (int32_t *)ref_alloc(p.tables_size);
    for (i = 0; i < p.tables_size / sizeof(int32_t); i++)
      tables[i] = p.tables[i] == TABLE_POISON ? TABLE_POISON : place[p.tables[i]];
    gpu_must(gpu.upload(device.tables.at, tables, p.tables_size));
    free(tables);
  }
  device.args.kv_cache = gpu_address(cache);
  device.args.kv_page_stride = stride;
  device.args.num_pages = count;
  if (split) {
    device.args.kpe_cache = gpu_address(rope);
    device.args.kpe_page_stride = stride;
  }
  if (device_run(&device, &p, plan, 0xff) == 0)
    oracle_check(&p);
  free(place);
  gpu_free(cache);
  gpu_free(rope);
  lathe_decode_plan_destroy(plan);
  problem_free(&p);
  device_free(&device);
  lathe_context_destroy(context);
}

GPU_TEST(addressing, page_times_stride_beyond_32_bits) {
  far_pages(0, 1ll << 24, 300, LATHE_DTYPE_BF16); // 5e9 elements, 10 GB
}
GPU_TEST(addressing, split_cache_beyond_32_bits) {
  far_pages(1, (1ll << 24) + 16, 280, LATHE_DTYPE_BF16);
}
GPU_TEST(addressing, e4m3_cache_beyond_32_bits) {
  far_pages(0, (1ll << 23) + 48, 600, LATHE_DTYPE_E4M3);
}
