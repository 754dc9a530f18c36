// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Failure: every refusal goes through lathep_fail or one of its kin (reason.h has that for descs),
// which fill the thread's record and return the status. A message has three parts: what failed,
// with which value, what would work.

enum { LATHEP_MESSAGE_MAX = 1024, LATHEP_COMPILE_LOG_MAX = 8192 };

typedef struct lathep_error_record {
  lathe_error error; // its strings are those below, or ""
  char message[LATHEP_MESSAGE_MAX];
  char compile_log[LATHEP_COMPILE_LOG_MAX];
} lathep_error_record;

static LATHEP_THREAD_LOCAL lathep_error_record lathep_last = {
    {LATHE_STATUS_OK, 0, 0, "", "", LATHE_REASON_NONE, "", 0}, "", ""};

LATHE_API const lathe_error *lathe_last_error(void) {
  return &lathep_last.error;
}

LATHE_API const char *lathe_status_string(lathe_status status) {
  switch (status) {
  case LATHE_STATUS_OK:
    return "LATHE_STATUS_OK";
  case LATHE_STATUS_INVALID_ARGUMENT:
    return "LATHE_STATUS_INVALID_ARGUMENT";
  case LATHE_STATUS_UNSUPPORTED:
    return "LATHE_STATUS_UNSUPPORTED";
  case LATHE_STATUS_OUT_OF_MEMORY:
    return "LATHE_STATUS_OUT_OF_MEMORY";
  case LATHE_STATUS_NO_DEVICE:
    return "LATHE_STATUS_NO_DEVICE";
  case LATHE_STATUS_DRIVER_TOO_OLD:
    return "LATHE_STATUS_DRIVER_TOO_OLD";
  case LATHE_STATUS_NVRTC_UNAVAILABLE:
    return "LATHE_STATUS_NVRTC_UNAVAILABLE";
  case LATHE_STATUS_NVRTC_TOO_NEW:
    return "LATHE_STATUS_NVRTC_TOO_NEW";
  case LATHE_STATUS_JIT_DISABLED:
    return "LATHE_STATUS_JIT_DISABLED";
  case LATHE_STATUS_COMPILE_FAILED:
    return "LATHE_STATUS_COMPILE_FAILED";
  case LATHE_STATUS_WORKSPACE_TOO_SMALL:
    return "LATHE_STATUS_WORKSPACE_TOO_SMALL";
  case LATHE_STATUS_WRONG_CONTEXT:
    return "LATHE_STATUS_WRONG_CONTEXT";
  case LATHE_STATUS_CUDA_ERROR:
    return "LATHE_STATUS_CUDA_ERROR";
  case LATHE_STATUS_INVALID_ENVIRONMENT:
    return "LATHE_STATUS_INVALID_ENVIRONMENT";
  case LATHE_STATUS_CHECK_FAILED:
    return "LATHE_STATUS_CHECK_FAILED";
  }
  return "unknown lathe_status";
}

// Names of the CUresult codes that a user meets. The driver knows all of them, but a message may be
// about a driver that did not load.
#define LATHEP_CUDA_ERRORS(X)                                                                      \
  X(1, CUDA_ERROR_INVALID_VALUE)                                                                   \
  X(2, CUDA_ERROR_OUT_OF_MEMORY)                                                                   \
  X(3, CUDA_ERROR_NOT_INITIALIZED)                                                                 \
  X(4, CUDA_ERROR_DEINITIALIZED)                                                                   \
  X(46, CUDA_ERROR_DEVICE_UNAVAILABLE)                                                             \
  X(100, CUDA_ERROR_NO_DEVICE)                                                                     \
  X(101, CUDA_ERROR_INVALID_DEVICE)                                                                \
  X(200, CUDA_ERROR_INVALID_IMAGE)                                                                 \
  X(201, CUDA_ERROR_INVALID_CONTEXT)                                                               \
  X(209, CUDA_ERROR_NO_BINARY_FOR_GPU)                                                             \
  X(218, CUDA_ERROR_INVALID_PTX)                                                                   \
  X(221, CUDA_ERROR_JIT_COMPILER_NOT_FOUND)                                                        \
  X(222, CUDA_ERROR_UNSUPPORTED_PTX_VERSION)                                                       \
  X(400, CUDA_ERROR_INVALID_HANDLE)                                                                \
  X(500, CUDA_ERROR_NOT_FOUND)                                                                     \
  X(700, CUDA_ERROR_ILLEGAL_ADDRESS)                                                               \
  X(701, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)                                                       \
  X(709, CUDA_ERROR_CONTEXT_IS_DESTROYED)                                                          \
  X(715, CUDA_ERROR_ILLEGAL_INSTRUCTION)                                                           \
  X(716, CUDA_ERROR_MISALIGNED_ADDRESS)                                                            \
  X(719, CUDA_ERROR_LAUNCH_FAILED)                                                                 \
  X(801, CUDA_ERROR_NOT_SUPPORTED)                                                                 \
  X(803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)                                                        \
  X(804, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)                                                \
  X(900, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)                                                    \
  X(901, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)                                                    \
  X(906, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)                                                       \
  X(999, CUDA_ERROR_UNKNOWN)

LATHEP_FN const char *lathep_cuda_error_name(int code) {
  switch (code) {
#define LATHEP_CUDA_ERROR_CASE(value, name)                                                        \
  case value:                                                                                      \
    return #name;
    LATHEP_CUDA_ERRORS(LATHEP_CUDA_ERROR_CASE)
#undef LATHEP_CUDA_ERROR_CASE
  }
  return "CUresult";
}

LATHEP_FN lathe_status lathep_fail_text(lathe_status status, int driver_code, int nvrtc_code,
                                        const char *compile_log, const char *format,
                                        va_list values) {
  lathep_error_record *last = &lathep_last;
  size_t length;
  vsnprintf(last->message, sizeof last->message, format, values);
  length = strlen(last->message);
  if (driver_code)
    lathep_print(last->message + length, sizeof last->message - length, " (%s, %d)",
                 lathep_cuda_error_name(driver_code), driver_code);
  lathep_print(last->compile_log, sizeof last->compile_log, "%s", compile_log);
  last->error.status = status;
  last->error.driver_code = driver_code;
  last->error.nvrtc_code = nvrtc_code;
  last->error.message = last->message;
  last->error.compile_log = last->compile_log;
  last->error.reason = LATHE_REASON_NONE;
  last->error.field = "";
  last->error.value = 0;
  return status;
}

__attribute__((format(printf, 2, 3))) LATHEP_FN lathe_status lathep_fail(lathe_status status,
                                                                         const char *format, ...) {
  va_list values;
  va_start(values, format);
  lathep_fail_text(status, 0, 0, "", format, values);
  va_end(values);
  return status;
}

// Adds the name of the driver's code to the message.
__attribute__((format(printf, 3, 4))) LATHEP_FN lathe_status lathep_fail_driver(lathe_status status,
                                                                                int driver_code,
                                                                                const char *format,
                                                                                ...) {
  va_list values;
  va_start(values, format);
  lathep_fail_text(status, driver_code, 0, "", format, values);
  va_end(values);
  return status;
}

// `compile_log` may be longer than a record holds: its head is kept, where the first error is.
__attribute__((format(printf, 4, 5))) LATHEP_FN lathe_status lathep_fail_nvrtc(
    lathe_status status, int nvrtc_code, const char *compile_log, const char *format, ...) {
  va_list values;
  va_start(values, format);
  lathep_fail_text(status, 0, nvrtc_code, compile_log, format, values);
  va_end(values);
  return status;
}

// For what fails on the way to success (backend AUTO going on without a GPU): puts the record back
// as it was when *saved was a copy of lathep_last. Strings point into the record itself, so that a
// plain copy is right.
LATHEP_FN void lathep_error_restore(const lathep_error_record *saved) {
  lathep_last = *saved;
}
