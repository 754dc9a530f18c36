// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What a context holds. All but the last group is constant once it is made, and so read by any
// thread without a lock.

struct lathep_kernel;

struct lathe_context {
  lathe_backend backend; // CUDA or CPU
  lathe_allocator allocator;
  lathep_env env;
  lathep_log_sink log;
  lathep_cuda cuda;
  lathep_device device;
  lathe_kernel_table table; // no images: none was given

  int jit;             // kernels may be compiled
  const char *jit_off; // what switched that off
  char *cache_dir;     // null: no disk cache
  char *nvrtc_path;    // null: look for it

  pthread_mutex_t nvrtc_mutex; // guards the loading of nvrtc
  lathep_nvrtc nvrtc;          // loaded when first needed

  pthread_mutex_t mutex; // guards the list of kernels and the state of each
  pthread_cond_t changed;
  struct lathep_kernel *kernels;
};

LATHEP_FN int lathep_log_on(const lathe_context *context, lathep_topic topic) {
  return (context->log.topics & 1u << topic) != 0;
}

// Formats nothing for a topic that nobody hears.
__attribute__((format(printf, 3, 4))) LATHEP_FN void
lathep_log(const lathe_context *context, lathep_topic topic, const char *format, ...) {
  char line[LATHEP_LOG_MAX];
  va_list values;
  if (!lathep_log_on(context, topic))
    return;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  line[strcspn(line, "\n")] = '\0'; // texts of other libraries may end in one
  context->log.logger.log(lathep_topic_names[topic], line, context->log.logger.user_data);
}

// A text of several lines, such as a compiler's log.
LATHEP_FN void lathep_log_lines(const lathe_context *context, lathep_topic topic,
                                const char *text) {
  while (*text) {
    size_t length = strcspn(text, "\n");
    if (length > 0)
      lathep_log(context, topic, "%.*s", (int)length, text);
    text += length + (text[length] == '\n');
  }
}

// Loads NVRTC the first time that it is wanted. Once OK, context->nvrtc is constant.
LATHEP_FN lathe_status lathep_context_nvrtc(lathe_context *context) {
  lathe_status status = LATHE_STATUS_OK;
  pthread_mutex_lock(&context->nvrtc_mutex);
  if (!context->nvrtc.library)
    status =
        lathep_nvrtc_load(&context->nvrtc, context->nvrtc_path, context->device.driver_version);
  pthread_mutex_unlock(&context->nvrtc_mutex);
  return status;
}
