// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Which kernels the environment means: LATHE_KERNEL has one attention kernel, LATHE_DISABLE a list
// of policies and families.

// Does LATHE_KERNEL mean kernels of this family: by its policy's word, by its own name, or by that
// of a variant, which *only then is?
LATHEP_FN int lathep_kernel_named(const char *wanted, lathep_arch arch, const char *family,
                                  const char **only) {
  const size_t length = strlen(family);
  *only = NULL;
  if (!strcmp(wanted, lathep_arch_words[arch]) || !strcmp(wanted, family))
    return 1;
  if (strncmp(wanted, family, length) || strncmp(wanted + length, "_l", 2))
    return 0;
  *only = wanted;
  return 1;
}

// What of LATHE_DISABLE, which may be null, a kernel falls under: its family, or the policy of an
// attention kernel. 0: nothing.
LATHEP_FN int lathep_disabled(const char *disabled, const lathep_variant *variant, char *word,
                              size_t word_size) {
  const int decode = variant->op == LATHEP_OP_DECODE;
  char family[64];
  lathep_variant_family(variant, family, sizeof family);
  while (disabled && *disabled) {
    const size_t length = strcspn(disabled, ",");
    lathep_print(word, word_size, "%.*s", (int)length, disabled);
    if (!strcmp(word, family) || (decode && !strcmp(word, lathep_arch_words[variant->arch])))
      return 1;
    disabled += length + (disabled[length] == ',');
  }
  return 0;
}
