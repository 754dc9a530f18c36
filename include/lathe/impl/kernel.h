// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Kernels of a context: found in this order, in memory, in the table built ahead of time, in the
// disk cache, else compiled. Each is found once, is loaded onto the device for good (a launch may
// be inside a graph capture, where nothing can be loaded), and lives as long as the context.

typedef struct lathep_kernel {
  char name[128];          // of the variant
  struct CUmod_st *module; // null: compiled into the program
  struct CUfunc_st *function;
  lathe_kernel_source source;
  int registers, local_bytes; // of a thread
  int static_shared;          // bytes of a block
  int ptx_version, binary_version;
  int busy; // a thread is making it; the others wait
  struct lathep_kernel *next;
} lathep_kernel;

// Whether it waits for the kernel before it when launched with the programmatic attribute: PTX
// below 9.0 has no such instruction, and kernels made from it run on later devices too.
LATHEP_FN int lathep_kernel_waits(const lathep_kernel *kernel) {
  return kernel->ptx_version >= 90;
}

// ---------------------------------------------------------------------------------------- loading

// What a driver call that failed was about; `step` null: nothing failed.
typedef struct lathep_load_error {
  const char *step;
  int code;
} lathep_load_error;

LATHEP_FN int lathep_load_step(lathep_load_error *error, const char *step, int code) {
  error->step = code ? step : NULL;
  error->code = code;
  return code;
}

// Queries, loads and sets up a function. With lazy loading, a function is on the device only after
// cuFuncLoad, or after its attributes were asked for where the driver has no cuFuncLoad.
LATHEP_FN int lathep_kernel_setup(const lathep_cuda *cuda, const lathep_variant *variant,
                                  lathep_kernel *kernel, lathep_load_error *error) {
  const struct {
    int attribute;
    int *value;
  } wanted[] = {
      {LATHEP_FUNC_STATIC_SHARED, &kernel->static_shared},
      {LATHEP_FUNC_LOCAL_BYTES, &kernel->local_bytes},
      {LATHEP_FUNC_REGISTERS, &kernel->registers},
      {LATHEP_FUNC_PTX_VERSION, &kernel->ptx_version},
      {LATHEP_FUNC_BINARY_VERSION, &kernel->binary_version},
  };
  size_t i;
  if (cuda->cuFuncLoad && lathep_load_step(error, "cuFuncLoad", cuda->cuFuncLoad(kernel->function)))
    return 0;
  for (i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
    if (lathep_load_step(
            error, "cuFuncGetAttribute",
            cuda->cuFuncGetAttribute(wanted[i].value, wanted[i].attribute, kernel->function)))
      return 0;
  if (variant->shared_bytes == 0)
    return 1;
  if (lathep_load_step(error, "cuFuncSetAttribute(MAX_DYNAMIC_SHARED_SIZE_BYTES)",
                       cuda->cuFuncSetAttribute(kernel->function, LATHEP_FUNC_MAX_DYNAMIC_SHARED,
                                                variant->shared_bytes)))
    return 0;
  // A hint: tiles are sized so that variant->ctas blocks fill the shared memory.
  cuda->cuFuncSetAttribute(kernel->function, LATHEP_FUNC_CARVEOUT, LATHEP_CARVEOUT_MAX_SHARED);
  return 1;
}

LATHEP_FN void lathep_kernel_unload(const lathep_cuda *cuda, lathep_kernel *kernel) {
  if (kernel->module)
    cuda->cuModuleUnload(kernel->module); // may fail once the driver has shut down
  kernel->module = NULL;
  kernel->function = NULL;
}

// A cubin, or PTX that ends in a zero. Nothing stays loaded after a failure.
LATHEP_FN int lathep_kernel_load(const lathep_cuda *cuda, const lathep_variant *variant,
                                 const void *data, lathep_kernel *kernel,
                                 lathep_load_error *error) {
  char symbol[160];
  lathep_print(symbol, sizeof symbol, "lathe_%s", kernel->name);
  if (lathep_load_step(error, "cuModuleLoadData", cuda->cuModuleLoadData(&kernel->module, data))) {
    kernel->module = NULL;
    return 0;
  }
  if (!lathep_load_step(error, "cuModuleGetFunction",
                        cuda->cuModuleGetFunction(&kernel->function, kernel->module, symbol)) &&
      lathep_kernel_setup(cuda, variant, kernel, error))
    return 1;
  lathep_kernel_unload(cuda, kernel);
  return 0;
}

// ------------------------------------------------------------------------------------------ table

// How well an image suits the device, 0 not at all: machine code for this very architecture, then
// for the closest minor below, then PTX of the newest that is not newer, then what nvcc compiled
// into the program, of which only the CUDA runtime knows what it is.
LATHEP_FN int lathep_image_rank(const lathe_kernel_image *image, int major, int minor) {
  int arch = 10 * major + minor;
  switch (image->kind) {
  case LATHE_IMAGE_CUBIN:
    if (image->arch_specific)
      return image->arch == arch ? 3000 : 0;
    return image->arch / 10 == major && image->arch <= arch ? 2000 + image->arch : 0;
  case LATHE_IMAGE_PTX:
    if (image->arch_specific && image->arch != arch)
      return 0;
    return image->arch <= arch ? 1000 + image->arch : 0;
  case LATHE_IMAGE_SYMBOL:
    return 1;
  case LATHE_IMAGE_NONE:
    break;
  }
  return 0;
}

// A kernel that was compiled for less than it needs has an empty body, and so no shared memory.
LATHEP_FN const char *lathep_image_load(const lathe_context *context, const lathep_variant *variant,
                                        const lathe_kernel_image *image, lathep_kernel *kernel,
                                        lathep_load_error *error) {
  const lathep_cuda *cuda = &context->cuda;
  void *function = NULL;
  int code;
  if (image->kind != LATHE_IMAGE_SYMBOL) {
    if (!lathep_kernel_load(cuda, variant, image->data, kernel, error))
      return error->step;
  } else {
    code = context->table.get_function ? context->table.get_function(image->data, &function) : 1;
    if (lathep_load_step(error, "get_function of the table", code))
      return error->step;
    kernel->function = (struct CUfunc_st *)function;
    if (!lathep_kernel_setup(cuda, variant, kernel, error))
      return error->step;
  }
  if (kernel->static_shared > 0)
    return NULL;
  lathep_kernel_unload(cuda, kernel);
  return "it is empty: it was compiled for an architecture below what it needs";
}

LATHEP_FN int lathep_kernel_from_table(const lathe_context *context, const lathep_variant *variant,
                                       lathep_kernel *kernel) {
  const lathe_kernel_table *table = &context->table;
  int below = 1 << 30;
  for (;;) { // from the best image down
    const lathe_kernel_image *best = NULL;
    lathep_load_error error = {NULL, 0};
    int best_rank = 0;
    const char *why;
    size_t i;
    for (i = 0; i < table->num_images; i++) {
      const lathe_kernel_image *image = &table->images[i];
      int rank = strcmp(image->variant, kernel->name)
                     ? 0
                     : lathep_image_rank(image, context->device.major, context->device.minor);
      if (rank > best_rank && rank < below) {
        best = image;
        best_rank = rank;
      }
    }
    if (!best)
      return 0;
    why = lathep_image_load(context, variant, best, kernel, &error);
    if (!why) {
      kernel->source = LATHE_KERNEL_SOURCE_AHEAD_OF_TIME;
      return 1;
    }
    lathep_log(context, LATHEP_TOPIC_DISPATCH, "%s ahead of time%s%d: passed over: %s (%d)",
               kernel->name,
               best->kind == LATHE_IMAGE_CUBIN ? " for sm_"
               : best->kind == LATHE_IMAGE_PTX ? " for compute_"
                                               : ", image ",
               best->arch, why, error.code);
    below = best_rank;
  }
}

// ---------------------------------------------------------------------------- cache and
// compilation

LATHEP_FN lathe_status lathep_kernel_jit_disabled(const lathe_context *context,
                                                  const lathep_variant *variant,
                                                  const lathep_kernel *kernel) {
  char family[64], row[256], pages[32] = "", word[16], options[32] = "";
  lathep_variant_family(variant, family, sizeof family);
  if (variant->page)
    lathep_print(pages, sizeof pages, ", pages = [%d]", variant->page);
  lathep_options_word(variant->options, word, sizeof word);
  if (word[0])
    lathep_print(options, sizeof options, ", options = [\"%s\"]", word);
  if (variant->op == LATHEP_OP_SCHEDULE)
    lathep_print(row, sizeof row, "families = [\"%s\"], tokens = [%d]%s", family, variant->tokens,
                 options);
  else if (variant->op == LATHEP_OP_MERGE || variant->op == LATHEP_OP_JOIN)
    lathep_print(row, sizeof row, "families = [\"%s\"], l = %d%s", family, variant->l, options);
  else if (variant->op == LATHEP_OP_APPEND)
    lathep_print(row, sizeof row, "families = [\"%s\"], l = %d, r = %d", family, variant->l,
                 variant->r);
  else
    lathep_print(row, sizeof row, "families = [\"%s\"], l = %d, r = %d, rows = [%d]%s%s", family,
                 variant->l, variant->r, variant->rows, pages, options);
  return lathep_fail(LATHE_STATUS_JIT_DISABLED,
                     "kernel %s is in no table and no cache, and %s forbids to compile it; add to "
                     "codegen/variants.toml a [[variant]] with %s, or allow compilation%s",
                     kernel->name, context->jit_off, row,
                     variant->arch == LATHEP_ARCH_SM80 ? "" : ", or set LATHE_KERNEL=sm80");
}

LATHEP_FN lathe_status lathep_kernel_refused(const lathe_context *context,
                                             const lathep_kernel *kernel,
                                             const lathep_jit_target *target,
                                             const lathep_load_error *error) {
  const lathep_nvrtc *nvrtc = &context->nvrtc;
  int driver = context->device.driver_version;
  if (1000 * nvrtc->major + 10 * nvrtc->minor > driver)
    return lathep_fail_driver(
        LATHE_STATUS_NVRTC_TOO_NEW, error->code,
        "the driver (CUDA %d.%d) refused %s, which NVRTC %d.%d (%s) compiled for %s, in %s; name "
        "an NVRTC of CUDA %d.%d or earlier in LATHE_NVRTC_LIB, or update the driver",
        driver / 1000, driver % 1000 / 10, kernel->name, nvrtc->major, nvrtc->minor, nvrtc->name,
        target->name, error->step, driver / 1000, driver % 1000 / 10);
  return lathep_fail_driver(
      LATHE_STATUS_CUDA_ERROR, error->code,
      "%s failed for %s, compiled by NVRTC %d.%d for %s; see that the device has memory and that "
      "nothing failed on it before",
      error->step, kernel->name, nvrtc->major, nvrtc->minor, target->name);
}

// Looks into the cache, compiles what is not there, loads.
LATHEP_FN lathe_status lathep_kernel_build(lathe_context *context, const lathep_variant *variant,
                                           const char *source, lathep_kernel *kernel) {
  const lathep_nvrtc *nvrtc = &context->nvrtc;
  lathep_load_error error = {NULL, 0};
  lathep_jit_target target;
  lathep_image image;
  lathep_hash key;
  lathe_status status = lathep_jit_target_for(context, variant, kernel->name, &target);
  if (status)
    return status;
  key = lathep_cache_key(source, target.options, LATHEP_JIT_OPTIONS, target.arch, nvrtc->major,
                         nvrtc->minor);
  if (lathep_cache_load(context, kernel->name, key, &image)) {
    int loaded = lathep_kernel_load(&context->cuda, variant, image.data, kernel, &error);
    lathep_image_free(&context->allocator, &image);
    if (loaded) {
      kernel->source = LATHE_KERNEL_SOURCE_CACHE;
      return LATHE_STATUS_OK;
    }
    lathep_log(context, LATHEP_TOPIC_CACHE, "passed over: %s: %s gave %d", kernel->name, error.step,
               error.code);
  }
  if (!context->jit)
    return lathep_kernel_jit_disabled(context, variant, kernel);
  status = lathep_jit_compile(context, nvrtc, kernel->name, source, &target, &image);
  if (status)
    return status;
  // The bytes just made are loaded, whatever becomes of the file.
  lathep_cache_store(context, kernel->name, key, &image);
  if (!lathep_kernel_load(&context->cuda, variant, image.data, kernel, &error))
    status = lathep_kernel_refused(context, kernel, &target, &error);
  lathep_image_free(&context->allocator, &image);
  kernel->source = LATHE_KERNEL_SOURCE_NVRTC;
  return status;
}

// With the context's CUDA context current.
LATHEP_FN lathe_status lathep_kernel_make(lathe_context *context, const lathep_variant *variant,
                                          lathep_kernel *kernel) {
  lathe_status status;
  char *source;
  if (lathep_kernel_from_table(context, variant, kernel))
    return LATHE_STATUS_OK;
  if (!context->jit && !context->cache_dir)
    return lathep_kernel_jit_disabled(context, variant, kernel);
  // Entries of the cache are of one version of NVRTC: without it there is none to look for.
  status = lathep_context_nvrtc(context);
  if (status)
    return context->jit ? status : lathep_kernel_jit_disabled(context, variant, kernel);
  status = lathep_source_text(&context->allocator, variant, &source);
  if (status)
    return status;
  status = lathep_kernel_build(context, variant, source, kernel);
  lathep_free(&context->allocator, source);
  return status;
}

// ------------------------------------------------------------------------------------------- list

LATHEP_FN lathep_kernel *lathep_kernel_find(const lathe_context *context, const char *name) {
  lathep_kernel *kernel = context->kernels;
  while (kernel && strcmp(kernel->name, name))
    kernel = kernel->next;
  return kernel;
}

// The kernel of this name, ready; or a new entry, busy, that is the caller's to make; or null, for
// want of memory. Waits while another thread makes it.
LATHEP_FN lathep_kernel *lathep_kernel_claim(lathe_context *context, const char *name,
                                             int *claimed) {
  lathep_kernel *kernel;
  pthread_mutex_lock(&context->mutex);
  while ((kernel = lathep_kernel_find(context, name)) != NULL && kernel->busy)
    pthread_cond_wait(&context->changed, &context->mutex);
  *claimed = kernel == NULL;
  if (!kernel)
    kernel = (lathep_kernel *)lathep_alloc(&context->allocator, sizeof *kernel);
  if (*claimed && kernel) {
    lathep_print(kernel->name, sizeof kernel->name, "%s", name);
    kernel->busy = 1;
    kernel->next = context->kernels;
    context->kernels = kernel;
  }
  pthread_mutex_unlock(&context->mutex);
  return kernel;
}

// After a failure the entry goes away, and whoever waited for it tries in turn.
LATHEP_FN void lathep_kernel_publish(lathe_context *context, lathep_kernel *kernel, int made) {
  lathep_kernel **link = &context->kernels;
  pthread_mutex_lock(&context->mutex);
  kernel->busy = 0;
  if (!made) {
    while (*link != kernel)
      link = &(*link)->next;
    *link = kernel->next;
    lathep_free(&context->allocator, kernel);
  }
  pthread_cond_broadcast(&context->changed);
  pthread_mutex_unlock(&context->mutex);
}

// *out stays valid as long as the context. *how: where it came from this time.
LATHEP_FN lathe_status lathep_kernel_get(lathe_context *context, const lathep_variant *variant,
                                         const lathep_kernel **out, lathe_kernel_source *how) {
  struct CUctx_st *popped;
  lathep_kernel *kernel;
  lathe_status status;
  char name[128];
  int claimed, code;
  *out = NULL;
  lathep_variant_name(variant, name, sizeof name);
  kernel = lathep_kernel_claim(context, name, &claimed);
  if (!kernel)
    return lathep_fail(
        LATHE_STATUS_OUT_OF_MEMORY,
        "lathe_allocator.alloc returned null for the %zu bytes of kernel %s; give it "
        "memory or leave it unset for malloc",
        sizeof *kernel, name);
  if (!claimed) {
    *out = kernel;
    *how = LATHE_KERNEL_SOURCE_MEMORY;
    return LATHE_STATUS_OK;
  }
  code = context->cuda.cuCtxPushCurrent(context->device.context);
  if (code) {
    status = lathep_fail_driver(LATHE_STATUS_CUDA_ERROR, code,
                                "cuCtxPushCurrent failed for device %d; see that the CUDA context "
                                "that the Lathe context was made in still lives",
                                context->device.ordinal);
  } else {
    status = lathep_kernel_make(context, variant, kernel);
    context->cuda.cuCtxPopCurrent(&popped);
  }
  if (!status) {
    *out = kernel;
    *how = kernel->source;
    lathep_log(context, LATHEP_TOPIC_DISPATCH,
               "%s: %s, %d registers, %d bytes of local and %d of static shared memory", name,
               kernel->source == LATHE_KERNEL_SOURCE_AHEAD_OF_TIME ? "ahead of time"
               : kernel->source == LATHE_KERNEL_SOURCE_CACHE       ? "from the disk cache"
                                                                   : "compiled by NVRTC",
               kernel->registers, kernel->local_bytes, kernel->static_shared);
  }
  lathep_kernel_publish(context, kernel, !status);
  return status;
}

// Frees all kernels; nothing may be using them.
LATHEP_FN void lathep_kernels_free(lathe_context *context) {
  struct CUctx_st *popped;
  int entered = context->kernels && !context->cuda.cuCtxPushCurrent(context->device.context);
  while (context->kernels) {
    lathep_kernel *kernel = context->kernels;
    context->kernels = kernel->next;
    if (entered) // else the CUDA context is gone, and took its modules along
      lathep_kernel_unload(&context->cuda, kernel);
    lathep_free(&context->allocator, kernel);
  }
  if (entered)
    context->cuda.cuCtxPopCurrent(&popped);
}
