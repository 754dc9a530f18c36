// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The validator on device data: lathe_decode_validate, and run under LATHE_CHECK=1, name the
// request and the entry; a capture is left alone.
#include "device.h"
#include "oracle.h"

typedef struct checked {
  lathe_context *context;
  problem p;
  device_problem device;
  lathe_decode_plan *plan;
} checked;

static int checked_begin(checked *c, int ragged) {
  shape s;
  memset(c, 0, sizeof *c);
  memset(&s, 0, sizeof s);
  s.batch = 4;
  s.q_len = 2;
  s.num_heads = 16;
  s.kv_len = 200;
  s.page_size = 16;
  s.l = 512;
  s.r = 64;
  s.q = s.kv = s.out = LATHE_DTYPE_BF16;
  s.ragged = ragged;
  s.bounded = 1;
  s.seed = 9;
  c->context = gpu_context_create(NULL, LATHE_SWITCH_ON);
  problem_make(&c->p, &s);
  c->plan = make_plan(c->context, &c->p.desc);
  if (!c->plan)
    return -1;
  device_upload(&c->device, &c->p, lathe_decode_workspace_size(c->plan));
  device_poison(&c->device, 0xff);
  return 0;
}

static void checked_end(checked *c) {
  lathe_decode_plan_destroy(c->plan);
  device_free(&c->device);
  problem_free(&c->p);
  lathe_context_destroy(c->context);
}

static void store(gpu_pointer at, long long index, int32_t value) {
  gpu_must(gpu.upload(at + (gpu_pointer)index * 4, &value, sizeof value));
  gpu_must(gpu.synchronize()); // an upload of so little may still be under way, and streams not wait for it
}

// Puts `value` at `index` of a device array, expects a refusal that holds both words, puts `old`
// back.
static void refused(checked *c, gpu_pointer array, long long index, int32_t value, int32_t old,
                    const char *request, const char *number) {
  lathe_status status;
  const char *message;
  store(array, index, value);
  status = lathe_decode_validate(c->plan, &c->device.args, NULL);
  message = lathe_last_error()->message;
  gpu_check(status == LATHE_STATUS_CHECK_FAILED, "%s = %s: %s", request, number,
            lathe_status_string(status));
  gpu_check(strstr(message, request) && strstr(message, number),
            "message \"%s\" does not name %s and %s", message, request, number);
  store(array, index, old);
}

GPU_TEST(validate, bad_values_are_named) {
  checked c;
  long long stride;
  if (checked_begin(&c, 0))
    return;
  stride = (c.p.desc.max_seq_len + 15) / 16;
  gpu_ok(lathe_decode_validate(c.plan, &c.device.args, NULL), "valid data");
  refused(&c, c.device.lens.at, 2, -7, c.p.lens[2], "2", "-7");
  refused(&c, c.device.lens.at, 1, 202, c.p.lens[1], "1", "202");
  refused(&c, c.device.tables.at, 3 * stride + 4, -1, c.p.tables[3 * stride + 4], "3", "-1");
  refused(&c, c.device.tables.at, 0 * stride + 2, 999999, c.p.tables[2], "0", "999999");
  // past the last page of a request anything goes: the table already holds 2^31 - 1 there
  gpu_ok(lathe_decode_validate(c.plan, &c.device.args, NULL), "valid data again");
  checked_end(&c);
}

GPU_TEST(validate, bad_token_ranges_are_named) {
  checked c;
  if (checked_begin(&c, 1))
    return;
  gpu_ok(lathe_decode_validate(c.plan, &c.device.args, NULL), "valid data");
  refused(&c, c.device.cu.at, 2, 1000, c.p.cu[2], "1", "1000");
  checked_end(&c);
}

GPU_TEST(validate, run_checks_when_asked) {
  checked c;
  gpu_stream stream;
  gpu_graph graph = NULL;
  lathe_status status;
  setenv("LATHE_CHECK", "1", 1); // read when the context is made
  if (checked_begin(&c, 0))
    return;
  unsetenv("LATHE_CHECK");
  gpu_must(gpu.stream_create(&stream, GPU_STREAM_NON_BLOCKING));
  if (gpu_ok(lathe_decode_run(c.plan, &c.device.args, stream), "a run of valid data")) {
    device_download(&c.device, &c.p);
    oracle_check(&c.p);
  }
  device_poison(&c.device, 0xff);
  store(c.device.lens.at, 3, 5000);
  status = lathe_decode_run(c.plan, &c.device.args, stream);
  gpu_check(status == LATHE_STATUS_CHECK_FAILED, "a run of bad data: %s",
            lathe_status_string(status));
  gpu_must(gpu.begin_capture(stream, 0));
  gpu_ok(lathe_decode_run(c.plan, &c.device.args, stream), "a capture is not checked");
  gpu_must(gpu.end_capture(stream, &graph));
  gpu_must(gpu.graph_destroy(graph));
  gpu_must(gpu.stream_destroy(stream));
  checked_end(&c);
}
