// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The text of a kernel for NVRTC: the variant's parameter block and the body of its family, which
// the build put into generated/sources.h. Byte for byte what is compiled ahead of time.

typedef struct lathep_source_part {
  const char *const *lines; // each ends in "\n"
  unsigned num_lines;
} lathep_source_part;

typedef struct lathep_family_source {
  const char *family;
  const unsigned short *parts; // of lathep_source_parts, in order
  unsigned num_parts;
} lathep_family_source;

#include <lathe/generated/sources.h>

LATHEP_FN const lathep_family_source *lathep_family_find(const char *family) {
  unsigned i;
  for (i = 0; i < lathep_num_family_sources; i++)
    if (!strcmp(lathep_family_sources[i].family, family))
      return &lathep_family_sources[i];
  return NULL;
}

// Copies the body to `text` if that is not null. Returns its length.
LATHEP_FN size_t lathep_family_body(const lathep_family_source *source, char *text) {
  size_t length = 0;
  unsigned p, i;
  for (p = 0; p < source->num_parts; p++) {
    const lathep_source_part *part = &lathep_source_parts[source->parts[p]];
    for (i = 0; i < part->num_lines; i++) {
      size_t size = strlen(part->lines[i]);
      if (text)
        memcpy(text + length, part->lines[i], size);
      length += size;
    }
  }
  return length;
}

// *text is the whole program, to be freed by the caller; null after a failure.
LATHEP_FN lathe_status lathep_source_text(const lathe_allocator *allocator,
                                          const lathep_variant *variant, char **text) {
  const lathep_family_source *source;
  char family[64];
  size_t block, body;
  *text = NULL;
  lathep_variant_family(variant, family, sizeof family);
  source = lathep_family_find(family);
  if (!source)
    return lathep_fail(
        LATHE_STATUS_UNSUPPORTED,
        "this build of Lathe has no source of the kernel family %s; add a [[family]] "
        "row to codegen/variants.toml and build again",
        family);
  block = lathep_variant_params(variant, NULL, 0);
  body = lathep_family_body(source, NULL);
  *text = (char *)lathep_alloc(allocator, block + body + 1);
  if (!*text)
    return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,
                       "lathe_allocator.alloc returned null for %zu bytes of kernel source; give "
                       "it memory or leave it unset for malloc",
                       block + body + 1);
  lathep_variant_params(variant, *text, block + 1);
  lathep_family_body(source, *text + block);
  return LATHE_STATUS_OK;
}
