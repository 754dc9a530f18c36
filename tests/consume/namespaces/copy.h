// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// One of two vendored copies in a program: each file defines LATHE_NAMESPACE, then includes this.
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

static int copy_works(void) {
  const lathe_context_desc desc = {.backend = LATHE_BACKEND_CPU};
  lathe_context *context = NULL;
  lathe_context_info info;
  if (lathe_context_create(&desc, &context) || lathe_context_get_info(context, &info))
    return 0;
  lathe_context_destroy(context);
  return info.backend == LATHE_BACKEND_CPU && lathe_version() == LATHE_VERSION;
}
