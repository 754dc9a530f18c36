// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Host memory: through the user's allocator, or malloc.

// Zeroed; null if there is none.
LATHEP_FN void *lathep_alloc(const lathe_allocator *allocator, size_t size) {
  void *memory;
  if (!allocator->alloc)
    return calloc(1, size ? size : 1);
  memory = allocator->alloc(size ? size : 1, allocator->user_data);
  if (memory)
    memset(memory, 0, size);
  return memory;
}

// Null is ignored.
LATHEP_FN void lathep_free(const lathe_allocator *allocator, void *memory) {
  if (!memory)
    return;
  if (allocator->alloc)
    allocator->free(memory, allocator->user_data);
  else
    free(memory);
}

// Puts a copy of `text` into *copy, which is null for null. Nonzero if there is no memory.
LATHEP_FN int lathep_copy_text(const lathe_allocator *allocator, const char *text, char **copy) {
  *copy = NULL;
  if (!text)
    return 0;
  *copy = (char *)lathep_alloc(allocator, strlen(text) + 1);
  if (*copy)
    memcpy(*copy, text, strlen(text) + 1);
  return *copy == NULL;
}
