// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A context of the CUDA backend whose driver functions record what they are asked to do, on a
// machine without a driver. Included after the implementation, whose private types it uses.
#ifndef LATHE_TESTS_RECORDING_DRIVER_H
#define LATHE_TESTS_RECORDING_DRIVER_H

#include "decode_fixture.h"

typedef struct recorded_launch {
  void *function;
  unsigned grid[3], block[3], shared_bytes;
  lathe_stream stream;
  int extended, programmatic;         // by cuLaunchKernelEx; with the attribute
  struct lathep_decode_params params; // of the kernels of decode
  struct lathep_append_params append; // of append's
  struct lathep_join_params join;     // of merge's
  lathep_tensor_map maps[2];          // of a kernel that has them
} recorded_launch;

// What was asked of cuTensorMapEncodeTiled; `map` is filled with the number of the call.
typedef struct recorded_map {
  int type, interleave, swizzle, promotion, fill;
  unsigned rank, box[5], steps[5];
  const void *address;
  uint64_t dims[5], strides[4];
} recorded_map;

static struct {
  recorded_launch launches[8];
  int num_launches;
  int launch_code;                  // what launches return
  struct CUctx_st *current, *below; // the stack of contexts, two high
  int pushes, pops, synchronised, copies;
  int copy_code;
  int capturing, capture_code;
  int dynamic_shared; // what the attention kernel was allowed
  int ptx_version;    // of every kernel
  recorded_map maps[8];
  int num_maps, map_code;
} recorded;

// Handles: never dereferenced, only compared.
static char recorded_handles[4];
#define PLAN_CONTEXT  ((struct CUctx_st *)(void *)&recorded_handles[0])
#define OTHER_CONTEXT ((struct CUctx_st *)(void *)&recorded_handles[1])
#define SOME_STREAM   ((lathe_stream)(void *)&recorded_handles[2])

static int record_get_current(struct CUctx_st **context) {
  *context = recorded.current;
  return 0;
}

static int record_push(struct CUctx_st *context) {
  recorded.pushes++;
  cr_expect_null(recorded.below);
  recorded.below = recorded.current;
  recorded.current = context;
  return 0;
}

static int record_pop(struct CUctx_st **context) {
  recorded.pops++;
  *context = recorded.current;
  recorded.current = recorded.below;
  recorded.below = NULL;
  return 0;
}

static int record_load(struct CUmod_st **module, const void *image) {
  *module = (struct CUmod_st *)(void *)(uintptr_t)image;
  return 0;
}

static int record_unload(struct CUmod_st *module) {
  cr_expect_not_null(module);
  return 0;
}

// A function is its image: one kernel each.
static int record_get_function(struct CUfunc_st **function, struct CUmod_st *module,
                               const char *symbol) {
  cr_expect(strncmp(symbol, "lathe_", 6) == 0);
  cr_expect_str_eq(symbol + 6, (const char *)(void *)module);
  *function = (struct CUfunc_st *)(void *)module;
  return 0;
}

static int record_get_attribute(int *value, int attribute, struct CUfunc_st *function) {
  cr_expect_not_null(function);
  *value = attribute == 1   ? 256 // static shared memory
           : attribute == 4 ? 96  // registers
           : attribute == 5 ? recorded.ptx_version
                            : 0;
  return 0;
}

static int record_set_attribute(struct CUfunc_st *function, int attribute, int value) {
  cr_expect_not_null(function);
  if (attribute == 8)
    recorded.dynamic_shared = value;
  return 0;
}

static int record_is_capturing(lathe_stream stream, int *capturing) {
  (void)stream;
  *capturing = recorded.capturing;
  return recorded.capture_code;
}

static int record_synchronize(lathe_stream stream) {
  (void)stream;
  recorded.synchronised++;
  return 0;
}

static int record_copy(void *to, lathep_device_ptr from, size_t bytes, lathe_stream stream) {
  (void)stream;
  recorded.copies++;
  if (!recorded.copy_code)
    memcpy(to, (const void *)(uintptr_t)from, bytes);
  return recorded.copy_code;
}

static int record_map(lathep_tensor_map *map, int type, unsigned rank, void *address,
                      const uint64_t *dims, const uint64_t *strides, const unsigned *box,
                      const unsigned *steps, int interleave, int swizzle, int promotion, int fill) {
  recorded_map *r = &recorded.maps[recorded.num_maps++ % 8];
  unsigned i;
  cr_assert_leq(rank, 5);
  cr_expect_eq((uintptr_t)map % 64, 0);
  memset(r, 0, sizeof *r);
  for (i = 0; i < rank; i++) {
    r->dims[i] = dims[i];
    r->box[i] = box[i];
    r->steps[i] = steps[i];
    if (i + 1 < rank)
      r->strides[i] = strides[i];
  }
  r->type = type;
  r->rank = rank;
  r->address = address;
  r->interleave = interleave;
  r->swizzle = swizzle;
  r->promotion = promotion;
  r->fill = fill;
  memset(map, recorded.num_maps, sizeof *map);
  return recorded.map_code;
}

static int record_launch(struct CUfunc_st *function, unsigned grid_x, unsigned grid_y,
                         unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                         unsigned shared_bytes, lathe_stream stream, void **params, void **extra) {
  recorded_launch *launch = &recorded.launches[recorded.num_launches++ % 8];
  cr_expect_null(extra);
  memset(launch, 0, sizeof *launch);
  launch->function = function;
  launch->grid[0] = grid_x;
  launch->grid[1] = grid_y;
  launch->grid[2] = grid_z;
  launch->block[0] = block_x;
  launch->block[1] = block_y;
  launch->block[2] = block_z;
  launch->shared_bytes = shared_bytes;
  launch->stream = stream;
  if (strncmp((const char *)(void *)function, "append", 6) == 0)
    launch->append = *(const struct lathep_append_params *)params[0];
  else if (strncmp((const char *)(void *)function, "join", 4) == 0)
    launch->join = *(const struct lathep_join_params *)params[0];
  else
    launch->params = *(const struct lathep_decode_params *)params[0];
  if (strncmp((const char *)(void *)function, "decode_sm90", 11) == 0) {
    launch->maps[0] = *(const lathep_tensor_map *)params[1];
    launch->maps[1] = *(const lathep_tensor_map *)params[2];
  }
  return recorded.launch_code;
}

static int record_launch_ex(const lathep_launch_config *config, struct CUfunc_st *function,
                            void **params, void **extra) {
  recorded_launch *launch = &recorded.launches[recorded.num_launches % 8];
  int code = record_launch(function, config->grid_x, config->grid_y, config->grid_z,
                           config->block_x, config->block_y, config->block_z, config->shared_bytes,
                           config->stream, params, extra);
  launch->extended = 1;
  launch->programmatic = config->num_attributes == 1 && config->attributes[0].id == 6 &&
                         config->attributes[0].value.number == 1;
  return code;
}

// Turns a CPU context into one of a device like an H100 but for its compute capability.
static inline void record_driver(lathe_context *context, int major, int minor) {
  memset(&recorded, 0, sizeof recorded);
  recorded.ptx_version = 10 * major + minor;
  context->backend = LATHE_BACKEND_CUDA;
  context->env.check = 0; // whatever the environment says
  context->device.context = PLAN_CONTEXT;
  context->device.major = major;
  context->device.minor = minor;
  context->device.num_sms = 132;
  context->device.shared_optin = 232448;
  snprintf(context->device.name, sizeof context->device.name, "recording device");
  context->cuda.cuCtxGetCurrent = record_get_current;
  context->cuda.cuCtxPushCurrent = record_push;
  context->cuda.cuCtxPopCurrent = record_pop;
  context->cuda.cuModuleLoadData = record_load;
  context->cuda.cuModuleUnload = record_unload;
  context->cuda.cuModuleGetFunction = record_get_function;
  context->cuda.cuFuncGetAttribute = record_get_attribute;
  context->cuda.cuFuncSetAttribute = record_set_attribute;
  context->cuda.cuStreamIsCapturing = record_is_capturing;
  context->cuda.cuStreamSynchronize = record_synchronize;
  context->cuda.cuMemcpyDtoHAsync = record_copy;
  context->cuda.cuTensorMapEncodeTiled = record_map;
  context->cuda.cuLaunchKernel = record_launch;
  context->cuda.cuLaunchKernelEx = record_launch_ex;
}

static inline lathe_context *recording_context(int major, int minor) {
  lathe_context *context = cpu_context();
  record_driver(context, major, minor);
  return context;
}

// Puts these kernels into the context's table, as images that are nothing but their names.
static inline void recorded_table(lathe_context *context, const lathep_variant *variants,
                                  int count) {
  static char names[3][128];
  static lathe_kernel_image images[3];
  int i;
  for (i = 0; i < count; i++) {
    lathep_variant_name(&variants[i], names[i], sizeof names[i]);
    images[i].variant = names[i];
    images[i].kind = LATHE_IMAGE_PTX;
    images[i].arch = 80;
    images[i].data = names[i];
    images[i].size = sizeof names[i];
  }
  context->table.version = LATHE_VERSION;
  context->table.num_images = (size_t)count;
  context->table.images = images;
}

// A plan; on the recording device its kernels are in the context's table.
static inline lathe_decode_plan *recorded_plan(lathe_context *context,
                                               const lathe_decode_desc *desc) {
  lathep_variant variants[3];
  lathe_decode_desc filled;
  lathep_candidates list;
  lathep_choice choice;
  if (context->backend == LATHE_BACKEND_CPU)
    return plan_of(context, desc);
  cr_assert_eq(lathep_decode_prepare(context, desc, &filled, &list, &choice), LATHE_STATUS_OK, "%s",
               lathe_last_error()->message);
  variants[0] = choice.decode;
  variants[1] = choice.merge;
  variants[2] = choice.schedule;
  recorded_table(context, variants, 3);
  return plan_of(context, desc);
}

#endif
