// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What the benchmark does without a GPU: its rows, its arithmetic, its report.
#define _GNU_SOURCE
#define LATHE_IMPLEMENTATION
#include <lathe/lathe.h>

#include "sample.h"

#include <criterion/criterion.h>

static int parse(bench_options *o, const char *words) {
  static char text[512];
  char *argv[32] = {(char *)"bench"}, *word;
  int argc = 1;
  snprintf(text, sizeof text, "%s", words);
  for (word = strtok(text, " "); word; word = strtok(NULL, " "))
    argv[argc++] = word;
  return bench_parse(o, argc, argv);
}

static bench_cases cases_of(const char *words) {
  bench_options o;
  bench_cases cases;
  cr_assert(parse(&o, words) == 0, "%s", words);
  bench_cases_make(&cases, &o);
  return cases;
}

static int names_are_unique(const bench_cases *cases) {
  int i, k;
  for (i = 0; i < cases->count; i++)
    for (k = 0; k < i; k++)
      if (strcmp(cases->at[i].name, cases->at[k].name) == 0)
        return 0;
  return 1;
}

Test(options, refused) {
  static const char *const bad[] = {"--rows",
                                    "--rows 1,1,8",
                                    "--rows 1,1,8,4096,",
                                    "--rows 1,1,8,0",
                                    "--rows 1,1,8,-5",
                                    "--rows 1,1,8,4096x",
                                    "--rows 1,1,8,4096-1000",
                                    "--rows 1,8,8,4",
                                    "--rows 1,1,8,99999999999999999999",
                                    "--grid --heads",
                                    "--grid --rows 1,1,8,4096",
                                    "--pages --page 16",
                                    "--page 0",
                                    "--page 16k16",
                                    "--dims 512",
                                    "--dims 512,64,1",
                                    "--dims 0,64",
                                    "--dtype fp8",
                                    "--max-kv 0",
                                    "--max-kv 5GB",
                                    "--matmul -1",
                                    "rows"};
  size_t i;
  bench_options o;
  for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
    cr_assert(parse(&o, bad[i]) == -1, "%s", bad[i]);
}

Test(options, taken) {
  bench_options o;
  cr_assert(parse(&o, "") == 0);
  cr_assert(o.mode == BENCH_MODE_TABLE && o.page == 64 && o.l == 512 && o.r == 64 && !o.quick);
  cr_assert(o.q == LATHE_DTYPE_BF16 && o.kv == LATHE_DTYPE_BF16 && o.max_kv == 0);
  cr_assert(parse(&o, "--grid --dtype e4m3 --dims 256,0 --page 16 --matmul 700.5") == 0);
  cr_assert(o.mode == BENCH_MODE_GRID && o.quick && o.max_kv == 5e9 && o.matmul == 700.5);
  cr_assert(o.q == LATHE_DTYPE_BF16 && o.kv == LATHE_DTYPE_E4M3 && o.l == 256 && o.r == 0);
  cr_assert(parse(&o, "--rows 2,3,16,4k,64,1,128,1000-16000c --dtype f16 --max-kv 1.5") == 0);
  cr_assert(o.mode == BENCH_MODE_ROWS && o.num_given == 2 && o.max_kv == 1.5e9);
  cr_assert(o.q == LATHE_DTYPE_F16 && o.kv == LATHE_DTYPE_F16);
  cr_assert(o.given[0].batch == 2 && o.given[0].q_len == 3 && o.given[0].heads == 16);
  cr_assert(o.given[0].kv_min == 4096 && o.given[0].kv_max == 4096 && !o.given[0].causal);
  cr_assert(o.given[1].kv_min == 1000 && o.given[1].kv_max == 16000 && o.given[1].causal);
  cr_assert(!o.schedule && parse(&o, "--schedule") == 0 && o.schedule);
  cr_assert(parse(&o, "--heads --rows 1,1,8,64") == 0 && o.mode == BENCH_MODE_HEADS);
}

Test(cases, table) {
  bench_cases cases = cases_of("");
  int i;
  cr_assert(cases.count == BENCH_TABLE_ROWS && names_are_unique(&cases));
  for (i = 0; i < cases.count; i++) {
    const bench_reference *h100 = &bench_table[i].h100, *h200 = &bench_table[i].h200;
    const bench_case *c = &cases.at[i];
    cr_assert(bench_case_reference(c, LATHE_DTYPE_BF16, "H100") == h100);
    cr_assert(bench_case_reference(c, LATHE_DTYPE_BF16, "H200") == h200);
    cr_assert(bench_case_reference(c, LATHE_DTYPE_E4M3, "H100")->limit == 0);
    cr_assert(bench_case_reference(c, LATHE_DTYPE_BF16, NULL)->limit == 0);
    // a target lies between the limit and what the peers took
    cr_assert(h100->limit < h100->target && h100->target < h100->flashmla, "%s", c->name);
    cr_assert(h200->limit <= h200->target && h200->target <= h200->flashmla, "%s", c->name);
  }
  free(cases.at);
}

Test(cases, grid) {
  bench_cases cases = cases_of("--grid"), all = cases_of("--grid --max-kv 100");
  int i, skipped = 0;
  cr_assert(cases.count == 375 && all.count == 375 && names_are_unique(&cases));
  for (i = 0; i < cases.count; i++) {
    double kv = (double)bench_cache_bytes(&cases.at[i], LATHE_DTYPE_BF16);
    cr_assert((kv > 5e9) == (cases.at[i].skipped[0] != '\0'), "%s", cases.at[i].name);
    cr_assert(all.at[i].skipped[0] == '\0');
    skipped += kv > 5e9;
  }
  cr_assert(skipped == 30);
  free(cases.at);
  free(all.at);
}

Test(cases, heads) {
  bench_cases cases = cases_of("--heads --rows 1,1,8,4k");
  int i, odd = 0;
  cr_assert(cases.count == 12 && names_are_unique(&cases));
  for (i = 0; i < cases.count; i++) {
    const bench_case *c = &cases.at[i], *next = c->relative < 0 ? NULL : &cases.at[c->relative];
    int heads = c->row.heads;
    cr_assert((heads & (heads - 1)) == 0 ? !next : next != NULL, "%s", c->name);
    if (next) {
      cr_assert(next < c && next->row.heads > heads && next->row.heads < 2 * heads);
      odd++;
    }
  }
  cr_assert(odd == 7);
  free(cases.at);
}

Test(cases, pages) {
  bench_cases cases = cases_of("--pages --rows 4,1,16,100-200");
  int i;
  cr_assert(cases.count == 7 && names_are_unique(&cases));
  for (i = 0; i < 7; i++) {
    cr_assert(cases.at[i].page == 64 >> i && cases.at[i].relative == (i ? 0 : -1));
    cr_assert(cases.at[i].row.kv_min == 100 && cases.at[i].row.kv_max == 200);
  }
  cr_assert_str_eq(cases.at[2].name, "b4_s1_h16_k100-200_p16");
  free(cases.at);
}

Test(cases, windows) {
  bench_cases cases = cases_of("--windows --rows 4,2,16,4k");
  const bench_case *whole = &cases.at[0], *window = &cases.at[1];
  int64_t kv_rows, pages;
  cr_assert(cases.count == 2 && !whole->window && window->window == 4096 && window->relative == 0);
  cr_assert_str_eq(window->name, "b4_s2_h16_k131072_w4096_causal");
  bench_case_total(window, &kv_rows, &pages);
  cr_assert(kv_rows == 4 * 4097 && pages == 4 * 65);
  cr_assert(bench_case_hidden_pages(window, 131072) == 2048 - 65);
  cr_assert(bench_case_hidden_pages(window, 4000) == 0 &&
            bench_case_hidden_pages(whole, 9999) == 0);
  free(cases.at);
}

Test(cases, lists) {
  bench_cases cases = cases_of("--topk");
  const bench_case *first = &cases.at[0];
  cr_assert(cases.count == BENCH_TOPK_ROWS && first->topk == 2048);
  cr_assert_str_eq(first->name, "b128_s1_h64_k32768_topk2048");
  cr_assert(bench_page_bytes(first, LATHE_DTYPE_E4M3) == 64 * 656);
  cr_assert(bench_case_bytes(first, LATHE_DTYPE_E4M3) ==
            128.0 * (2048 * 656 + 64 * (512 + 512 + 64) * 2));
  cr_assert(bench_case_flops(first) == 2.0 * 128 * 2048 * 64 * (512 + 512 + 64));
  cr_assert(bench_case_reference(first, LATHE_DTYPE_E4M3, "H100")->flashmla == 119.0);
  cr_assert(bench_case_reference(first, LATHE_DTYPE_E4M3, NULL)->flashmla == 0);
  free(cases.at);
  cases = cases_of("--topk --rows 2,1,16,5000");
  cr_assert(cases.count == 1 && cases.at[0].topk == 2048);
  free(cases.at);
}

Test(cases, filter_and_names) {
  bench_cases cases = cases_of("--grid --filter s4_h64_k1024 --dims 256,32");
  cr_assert(cases.count == 5);
  cr_assert_str_eq(cases.at[0].name, "b1_s4_h64_k1024_causal_l256r32");
  free(cases.at);
}

Test(cases, bytes_and_flops) {
  bench_cases cases = cases_of("--rows 128,1,16,4096,2,2,8,65");
  const bench_case *c = cases.at;
  cr_assert(bench_case_flops(c) == 2176.0 * 128 * 16 * 4096);
  cr_assert(bench_case_bytes(c, LATHE_DTYPE_BF16) == 128.0 * 4096 * 1152 + 128.0 * 16 * 1088 * 2);
  cr_assert(bench_case_bytes(c, LATHE_DTYPE_E4M3) == 128.0 * 4096 * 576 + 128.0 * 16 * 1088 * 2);
  c++; // its last page of each request is nearly empty: held, but not read
  cr_assert(bench_cache_bytes(c, LATHE_DTYPE_BF16) == 2 * 128 * 1152);
  cr_assert(bench_case_bytes(c, LATHE_DTYPE_BF16) == 2 * 65 * 1152.0 + 2 * 2 * 8 * 1088 * 2);
  free(cases.at);
}

Test(peers, by_device) {
  cr_assert_str_eq(bench_peers_of("NVIDIA H100 80GB HBM3"), "H100");
  cr_assert_str_eq(bench_peers_of("NVIDIA H200"), "H200");
  cr_assert(bench_peers_of("NVIDIA H100 PCIe") == NULL);
  cr_assert(bench_peers_of("NVIDIA A100-SXM4-80GB") == NULL);
}

Test(report, words_of_a_kernel_name) {
  const char *name = "decode_sm90a_bf16_bf16_l512r64_m64t64s2p64";
  cr_assert(bench_has_word(name, "sm90a") && bench_has_word(name, "decode"));
  cr_assert(bench_has_word(name, "bf16_l512r64") && bench_has_word(name, name));
  cr_assert(bench_has_word(name, "m64t64s2p64"));
  cr_assert(!bench_has_word(name, "sm90") && !bench_has_word(name, "m64") &&
            !bench_has_word(name, ""));
}

Test(report, limit_is_the_slower_of_memory_and_arithmetic) {
  cr_assert(bench_limit(10, 1e9, 800) == 10);
  cr_assert(bench_limit(10, 8e12, 800) == 1e4);
  cr_assert(bench_limit(10, 8e12, 0) == 0); // no ceiling, no limit
}

Test(report, median) {
  double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
  cr_assert(bench_median(odd, 3) == 2 && bench_median(even, 4) == 2.5 &&
            bench_median(NULL, 0) == 0);
}

static int measured;
static double square(void *user, double bytes) {
  (void)user;
  measured++;
  return bytes * bytes;
}

Test(report, streaming_curve) {
  static bench_curve c;
  cr_assert(bench_curve_exact(&c, 3, square, NULL) == 9 && measured == 1);
  cr_assert(bench_curve_exact(&c, 3, square, NULL) == 9 && measured == 1);
  cr_assert(bench_curve_between(&c, 8, square, NULL) == 64 && measured == 2);
  cr_assert(bench_curve_between(&c, 12, square, NULL) == 160 && measured == 3); // (64 + 256) / 2
  cr_assert(bench_curve_between(&c, 10, square, NULL) == 112 && measured == 3);
}

Test(report, means_and_relative) {
  char *argv[] = {(char *)"bench"};
  bench_sample s;
  bench_mean fa2, flashmla;
  bench_case compared;
  bench_sample_make(&s, 1, argv);
  flashmla = bench_mean_of(s.results, 2, 0);
  cr_assert(flashmla.rows == 2 && fabs(flashmla.lathe - 1.25) < 1e-9);
  cr_assert(fabs(flashmla.other - sqrt(21.1 / 4.8 * 42.1 / 14.8)) < 1e-9);
  fa2 = bench_mean_of(s.results, s.cases.count, 2);
  cr_assert(fa2.rows == BENCH_TABLE_ROWS - 2, "%d", fa2.rows); // the skipped and the wrong one
  cr_assert(bench_relative(s.results, &s.results[1]) == 0);
  compared = *s.results[1].c;
  compared.relative = 0;
  s.results[1].c = &compared;
  s.results[0].time.graph = 3;
  s.results[1].time.graph = s.results[1].time.single = 4;
  cr_assert(bench_relative(s.results, &s.results[1]) == 0.75);
  bench_sample_free(&s);
}

Test(ceilings, kernels_compile) {
  static const int archs[] = {80, 86, 90};
  bench_nvrtc nvrtc;
  size_t i;
  if (bench_nvrtc_open(&nvrtc, getenv("LATHE_NVRTC_LIB")))
    cr_skip_test("no NVRTC");
  for (i = 0; i < sizeof archs / sizeof archs[0]; i++) {
    char *cubin = bench_compile(&nvrtc, bench_kernel_source, archs[i]);
    cr_assert(cubin != NULL, "sm_%d", archs[i]);
    free(cubin);
  }
}
