// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the library makes of a variant, for test_mirror.py to compare with what codegen/ makes of
// it.
//
//     mirror tile   lines "arch q kv out l r rows page shared_limit options": name, shared bytes
//                   and threads, or "-"
//     mirror text   the same and lines "merge out l options", "schedule tokens options",
//                   "append q kv out l r" and "join q out l": length, newline, text of the NVRTC
//                   program
//
// options: bits
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

static lathe_dtype dtype(const char *word) {
  lathe_dtype all[] = {LATHE_DTYPE_F16, LATHE_DTYPE_BF16, LATHE_DTYPE_E4M3, LATHE_DTYPE_F32};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
    if (!strcmp(word, lathe_dtype_string(all[i])))
      return all[i];
  return LATHE_DTYPE_NONE;
}

int main(int argc, char **argv) {
  static const lathe_allocator allocator; // malloc and free
  int want_text = argc == 2 && !strcmp(argv[1], "text");
  char line[256], arch[16], q[16], kv[16], out[16];
  unsigned options;
  while (fgets(line, sizeof line, stdin)) {
    lathep_variant variant;
    lathe_decode_desc desc;
    int l, r, page, shared_limit, fits = 1;
    long long rows;
    memset(&desc, 0, sizeof desc);
    if (sscanf(line, "merge %15s %d %u", out, &l, &options) == 3) {
      lathep_variant_merge(dtype(out), l, options, &variant);
    } else if (sscanf(line, "schedule %d %u", &l, &options) == 2) {
      lathep_variant_schedule(l, options, &variant);
    } else if (sscanf(line, "append %15s %15s %15s %d %d", q, kv, out, &l, &r) == 5) {
      lathe_append_desc append;
      memset(&append, 0, sizeof append);
      append.q_dtype = dtype(q);
      append.kv_format = strcmp(kv, "row656") ? LATHE_KV_FORMAT_PLAIN : LATHE_KV_FORMAT_ROW656;
      append.kv_dtype = strcmp(kv, "row656") ? dtype(kv) : LATHE_DTYPE_E4M3;
      append.q_out_dtype = dtype(out);
      append.kv_lora_rank = l;
      append.qk_rope_head_dim = r;
      lathep_variant_append(&append, &variant);
    } else if (sscanf(line, "join %15s %15s %d", q, out, &l) == 3) {
      lathe_merge_desc join;
      memset(&join, 0, sizeof join);
      join.in_dtype = dtype(q);
      join.out_dtype = dtype(out);
      join.kv_lora_rank = l;
      lathep_variant_join(&join, &variant);
    } else if (sscanf(line, "%15s %15s %15s %15s %d %d %lld %d %d %u", arch, q, kv, out, &l, &r,
                      &rows, &page, &shared_limit, &options) == 10) {
      char reason[256];
      desc.q_dtype = dtype(q);
      desc.kv_format = strcmp(kv, "row656") ? LATHE_KV_FORMAT_PLAIN : LATHE_KV_FORMAT_ROW656;
      desc.kv_dtype = strcmp(kv, "row656") ? dtype(kv) : LATHE_DTYPE_E4M3;
      desc.out_dtype = dtype(out);
      desc.kv_lora_rank = l;
      desc.qk_rope_head_dim = r;
      desc.page_size = page;
      desc.sliding_window = options & LATHEP_OPTION_WINDOW ? 1 : 0;
      desc.attention_sinks = options & LATHEP_OPTION_SINKS ? 1 : 0;
      desc.softmax_scale_on_device = options & LATHEP_OPTION_SCALE ? 1 : 0;
      desc.sparse_topk = options & LATHEP_OPTION_SPARSE ? 1 : 0;
      desc.logit_softcap = options & LATHEP_OPTION_SOFTCAP ? 1.0f : 0.0f;
      desc.mask = options & LATHEP_OPTION_TREE ? LATHE_MASK_TREE : LATHE_MASK_CAUSAL;
      desc.cp_world = options & LATHEP_OPTION_RANKS ? 2 : 1;
      if (!strcmp(arch, "sm80"))
        fits = !lathep_tile_choose(&desc, rows, shared_limit, &variant, reason, sizeof reason);
      else
        fits = !lathep_hopper_fit(strcmp(arch, "sm90") ? LATHEP_ARCH_SM90A : LATHEP_ARCH_SM90,
                                  &desc, shared_limit, &variant, reason, sizeof reason);
    } else {
      fprintf(stderr, "cannot read: %s", line);
      return 1;
    }
    if (!fits) {
      puts("-");
    } else if (want_text) {
      char *text;
      if (lathep_source_text(&allocator, &variant, &text))
        return 1;
      printf("%zu\n%s", strlen(text), text);
      free(text);
    } else {
      char name[128];
      lathep_variant_name(&variant, name, sizeof name);
      printf("%s %d %d\n", name, variant.shared_bytes, variant.threads);
    }
  }
  return 0;
}
