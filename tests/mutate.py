#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
"""Tests the tests: plants one mistake at a time in a copy of the tree and demands that a named test fails.

    python3 tests/mutate.py                      host mutants, no GPU needed
    python3 tests/mutate.py --check              only that every substitution still matches its file, once
    python3 tests/mutate.py --gpu                kernel mutants: builds and runs them, on a machine with a GPU
    python3 tests/mutate.py --gpu --build DIR    only builds them (this needs no GPU) ...
    python3 DIR/mutate.py --gpu --run DIR        ... and only runs what was built, on a machine with a GPU, NVRTC,
                                                 Python and that folder, without compiler, tree or Criterion
    options: --only TEXT (mutants whose name has it), --jobs N (mutants run at a time), --list, --keep

A mutant that survives, that does not compile, or whose substitution matches no longer is a failure, and so
is a tree whose tests fail before anything was planted. Mutants marked race lack a wait or a barrier:
tests/gpu/sanitize.sh has a race detector look at them, too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ["meson.build", "meson_options.txt", "include", "templates", "codegen", "tests", "examples",
          "cmake", "docs", "LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci"]


class Mutant:
    def __init__(self, name, what, file, old, new, tests, race=False, gpu=False):
        self.name, self.what, self.file = name, what, file
        self.old, self.new, self.tests, self.race, self.gpu = old, new, tests, race, gpu

    def mutated(self, root):
        text = (root / self.file).read_text(encoding="utf-8")
        count = text.count(self.old)
        if count != 1:
            raise SystemExit(f"mutate.py: {self.name}: the text to be replaced occurs {count} times in "
                             f"{self.file}, not once; bring the mutant up to date:\n    {self.old}")
        return text.replace(self.old, self.new)


IMPL = "include/lathe/impl/"
PARTS = "templates/parts/"

# name, what is planted, file, text, its replacement, Meson names of the tests that have to notice
HOST = [
    Mutant("causal_off_by_one", "a token does not see its own row", IMPL + "cpu.h",
           "lathep_clamp(before + t + 1, 0, end)", "lathep_clamp(before + t, 0, end)", ["cpu hand"]),
    Mutant("rescale_dropped", "sums under an old maximum keep their size", IMPL + "cpu.h",
           "acc[d] *= rescale;", "acc[d] *= 1;", ["cpu oracle"]),
    Mutant("page_stride_swapped", "the roped cache is walked with the latent's page stride", IMPL + "cpu_rows.h",
           "page * args->kpe_page_stride + slot", "page * args->kv_page_stride + slot", ["cpu oracle"]),
    Mutant("lse_base_ignored", "base 2 gives a natural logarithm", IMPL + "cpu.h",
           "desc->lse_base == LATHE_LSE_BASE2 ? ln2 : 1", "desc->lse_base == LATHE_LSE_BASE2 ? 1 : 1",
           ["cpu hand"]),
    Mutant("kv_scale_dropped_on_v", "the scale of an e4m3 cache reaches logits, not values", IMPL + "cpu.h",
           "acc[d] / sum * (double)args->kv_scale", "acc[d] / sum", ["cpu hand"]),
    Mutant("window_off_by_one", "a token sees one row more than its window has", IMPL + "cpu.h",
           "first = end - desc->sliding_window;", "first = end - desc->sliding_window - 1;", ["cpu hand"]),
    Mutant("window_reads_all_pages", "table entries before the window are looked at", IMPL + "cpu.h",
           "for (j = least_first; j < most_visible;", "for (j = 0; j < most_visible;", ["cpu hand", "gpu code options"]),
    Mutant("window_ignored_by_validator", "entries before the window have to be right", IMPL + "validate.h",
           "return desc->sliding_window && first > 0\n", "return 0 && first > 0\n", ["schedule"]),
    Mutant("window_of_a_wrong_kernel", "the schedule of a window is made without it", IMPL + "variant.h",
           "v->options = options & LATHEP_SCHEDULE_OPTIONS;", "v->options = 0 & options;", ["schedule", "variant"]),
    Mutant("softcap_ignored", "logits are not capped", IMPL + "cpu.h",
           "    if (cap > 0)\n", "    if (cap < 0)\n", ["cpu hand"]),
    Mutant("softcap_of_the_query", "the cap is applied before the scale", IMPL + "cpu.h",
           "logits[j] = cap * tanh(logits[j] / cap);", "logits[j] = scale * cap * tanh(logits[j] / scale / cap);",
           ["cpu hand", "cpu oracle"]),
    Mutant("sink_ignored", "sinks take nothing", IMPL + "cpu.h",
           "value = seen ? acc[d] / sum *", "value = seen ? acc[d] / row->sum *",
           ["cpu hand"]),
    Mutant("sink_in_the_lse", "sinks are part of the lse", IMPL + "cpu.h",
           "lse += log(row->sum);", "lse += log(sum);", ["cpu hand"]),
    Mutant("sink_of_the_first_head", "all heads have the first one's sink", IMPL + "cpu.h",
           "args->sinks[row->head]", "args->sinks[0 * row->head]", ["cpu oracle"]),
    Mutant("sinks_not_merged", "the merge kernel of a plan with sinks has none", IMPL + "variant.h",
           "SINKS ? options & LATHEP_MERGE_OPTIONS : 0;", "SINKS ? 0 & options : 0;", ["variant"]),
    Mutant("host_scale_counts", "the scale in memory is not read", IMPL + "cpu.h",
           "desc->softmax_scale_on_device ? *args->softmax_scale_at :", "0 ? *args->softmax_scale_at :", ["cpu hand"]),
    Mutant("host_scale_counts_too", "the host's scale multiplies the one in memory", IMPL + "args_options.h",
           "    args->softmax_scale = 1.0f; // times", "    args->softmax_scale = 2.0f; // times", ["plan"]),
    Mutant("scale_unchecked", "a negative scale in memory passes the validator", IMPL + "validate.h",
           "!(*scale > 0.0f && isfinite(*scale))", "!isfinite(*scale)", ["plan"]),
    Mutant("tree_bit_of_the_next", "bits are looked for one token too far", IMPL + "cpu.h",
           ">> other % 32 & 1", ">> (other + 1) % 32 & 1", ["cpu hand"]),
    Mutant("tree_of_the_first_token", "all tokens of a request have the first one's row of the mask", IMPL + "cpu.h",
           "(request->first_token + t) * args->tree_mask_stride", "request->first_token * args->tree_mask_stride",
           ["cpu hand"]),
    Mutant("tree_hides_what_was_before", "rows before the new tokens are not seen", IMPL + "cpu.h",
           "end = lathep_clamp(before, 0, end);", "end = lathep_clamp(before - 1, 0, end);", ["cpu hand"]),
    Mutant("list_tokens_unchecked", "a run may have more lists than its workspace has room for", IMPL + "args.h",
           "if (desc->sparse_topk && args->num_tokens >", "if (0 && args->num_tokens >",
           ["bad input", "schedule"]),
    Mutant("scales_underflow", "a product of scales may become 0", IMPL + "args_options.h",
           "product < (double)FLT_MIN", "product < 0", ["bad input"]),
    Mutant("packed_rows_anywhere", "the CPU reads rows of 656 bytes at odd addresses", IMPL + "args.h",
           "cuda || packed)", "cuda)", ["bad input"]),
    Mutant("append_device_scale_unchecked", "append's validator looks past a scale on the device",
           IMPL + "append_validate.h", "  if (!from)\n", "  if (!from || from)\n", ["bad append"]),
    Mutant("tree_words_unchecked", "a mask's rows may overlap", IMPL + "args_options.h",
           "if (args->tree_mask_stride < words ||", "if (args->tree_mask_stride < 1 ||", ["bad input"]),
    Mutant("tree_on_hopper", "a tree mask goes to a kernel that has none", IMPL + "tile.h",
           "  else if (desc->mask == LATHE_MASK_TREE)\n", "  else if (desc->mask == LATHE_MASK_TREE + 1)\n", ["hopper"]),
    Mutant("rank_has_rows_of_the_first", "every rank takes the first one's positions for its own", IMPL + "ranks.h",
           "lathep_rank_rows(desc, desc->cp_rank, end)", "lathep_rank_rows(desc, 0, end)", ["ranks"]),
    Mutant("rank_without_interleave", "a row's position is found as with an interleave of 1", IMPL + "ranks.h",
           "row / each * each * desc->cp_world + desc->cp_rank * each + row % each", "row * desc->cp_world + desc->cp_rank",
           ["ranks"]),
    Mutant("sinks_of_every_rank", "each rank adds the sinks", IMPL + "ranks.h",
           "desc->attention_sinks && desc->cp_rank == 0", "desc->attention_sinks", ["ranks"]),
    Mutant("sinks_not_joined", "the lse of a rank that adds sinks is without", IMPL + "cpu.h",
           "if (desc->cp_world > 1) //", "if (desc->cp_world > 99) //", ["ranks"]),
    Mutant("ranks_without_lse", "a rank need not tell its lse", IMPL + "args.h",
           "!args->lse && desc->cp_world > 1", "!args->lse && desc->cp_world > 99", ["bad input"]),
    Mutant("ranks_of_a_wrong_schedule", "the schedule of a rank is one of all rows", IMPL + "variant.h",
           "LATHEP_OPTION_WINDOW | LATHEP_OPTION_RANKS | LATHEP_OPTION_SPARSE,", "LATHEP_OPTION_WINDOW,", ["schedule", "variant"]),
    Mutant("ranks_on_hopper", "lengths of all ranks go to a kernel that takes them for its own", IMPL + "tile.h",
           "else if (lathep_desc_options(desc) & LATHEP_OPTION_RANKS)", "else if (desc->cp_world < 0)", ["hopper"]),
    Mutant("q_scale_dropped", "the scale of an e4m3 query is left out", IMPL + "cpu.h",
           "(double)args->kv_scale * (double)args->q_scale;", "(double)args->kv_scale;", ["cpu hand"]),
    Mutant("out_scale_upside_down", "an e4m3 output is multiplied by its scale", IMPL + "cpu.h",
           "value / (double)args->out_scale", "value * (double)args->out_scale", ["cpu hand"]),
    Mutant("params_without_q_scale", "the kernels get no scale of the query", IMPL + "decode.h",
           "args->kv_scale * args->q_scale *", "args->kv_scale *", ["plan"]),
    Mutant("params_without_out_scale", "the kernels get no scale of the output", IMPL + "decode.h",
           "args->kv_scale / args->out_scale;", "args->kv_scale;", ["plan"]),
    Mutant("list_length_ignored", "lists are read to their end", IMPL + "cpu.h",
           "if (desc->sparse_topk && !args->seq_lens)", "if (desc->sparse_topk)", ["cpu hand"]),
    Mutant("list_of_another_token", "lists are taken to be packed", IMPL + "args_options.h",
           "args->block_table_stride = args->sparse_token_stride;", "args->block_table_stride = desc->sparse_topk;",
           ["cpu hand"]),
    Mutant("window_is_all_rows", "a window's plan is taken for one that reads all rows", IMPL + "dispatch.h",
           "const int windowed = lathep_window_ends_reads(question->desc);", "const int windowed = 0;", ["hopper"]),
    Mutant("lists_on_hopper", "lists go to a kernel that does not read them", IMPL + "tile.h",
           "  if (desc->sparse_topk)\n", "  if (desc->sparse_topk < 0)\n", ["hopper"]),
    Mutant("e4m3_output_on_hopper", "an e4m3 output goes to a kernel that has none", IMPL + "tile.h",
           " || desc->out_dtype == LATHE_DTYPE_E4M3)", ")", ["hopper"]),
    Mutant("length_not_clamped", "a length beyond the table is believed", IMPL + "cpu.h",
           "lathep_clamp(args->seq_lens[i], 0, lathep_seq_limit(desc, args))",
           "lathep_clamp(args->seq_lens[i], 0, INT32_MAX)", ["cpu bounds"]),
    Mutant("page_off_by_one", "the page of the next row", IMPL + "cpu_rows.h",
           "table[j / desc->page_size]", "table[(j + 1) / desc->page_size]", ["cpu hand", "cpu oracle"]),
    Mutant("q_head_stride_wrong", "heads of the query are found by the token stride", IMPL + "cpu.h",
           "row->head * args->q_head_stride,", "row->head * args->q_token_stride,", ["cpu oracle"]),
    Mutant("table_stride_ignored", "rows of the block table are taken to be packed", IMPL + "cpu_rows.h",
           "args->block_tables + i * args->block_table_stride;",
           "args->block_tables + i * lathep_ceil_div(desc->max_seq_len, desc->page_size);", ["cpu bounds", "cpu oracle"]),
    Mutant("e4m3_nan_is_480", "the NaN code of e4m3 is a number", IMPL + "half.h",
           "if ((code & 0x7f) == 0x7f)", "if (code == 0x100)", ["half"]),
    Mutant("ties_away_from_even", "rounding of ties goes up", IMPL + "half.h",
           "(dropped == half && (code & 1))", "dropped == half", ["half"]),
    Mutant("params_swapped", "page and row stride of the roped cache change places", IMPL + "decode.h",
           "p->kpe_page_stride = args->kpe_page_stride * kv;", "p->kpe_page_stride = args->kpe_row_stride * kv;",
           ["plan"]),
    Mutant("programmatic_before_hopper", "the merge kernel is launched early where no kernel waits",
           IMPL + "kernel.h", "kernel->ptx_version >= 90", "kernel->ptx_version >= 80", ["plan"]),
    Mutant("programmatic_unasked", "the attention kernel is always launched early", IMPL + "decode.h",
           "args->programmatic_launch != 0", "1", ["plan"]),
    Mutant("programmatic_on_any_device", "early launches are let through where no kernel waits", IMPL + "plan.h",
           "  if (!wanted)\n", "  if (!wanted || context->device.major < 9)\n", ["bad input"]),
    Mutant("workspace_check_dropped", "a workspace that is too small is written past", IMPL + "args.h",
           "if (args->workspace_size < size)", "if (args->workspace_size + 1 == 0)", ["bad input"]),
    Mutant("entry_check_off_by_one", "page num_pages passes the validator", IMPL + "validate.h",
           "*pages >= most", "*pages > most", ["bad input"]),
    Mutant("append_pairs_mixed_up", "half-split pairs are turned as neighbours", IMPL + "append_cpu.h",
           "const int interleaved = desc->rope == LATHE_ROPE_INTERLEAVED;", "const int interleaved = 1;", ["append"]),
    Mutant("append_position_off_by_one", "a new row goes behind its place", IMPL + "append_cpu.h",
           "length - request.q_len + t;", "length - request.q_len + t + 1;", ["append"]),
    Mutant("append_inactive_ignored", "the rows of an inactive request are written", IMPL + "append_cpu.h",
           "!args->latent_cache || (args->inactive && args->inactive[place.request])", "!args->latent_cache", ["append"]),
    Mutant("append_scale_divides_twice", "codes are made by the scale, not by its reciprocal", IMPL + "append_cpu.h",
           "return (float)(1.0 / (double)scale);", "return scale;", ["append"]),
    Mutant("append_nan_keeps_its_sign", "a NaN becomes another code than on a device", IMPL + "append_cpu.h",
           "isnan(value) ? 0x7f : ", "", ["append"]),
    Mutant("append_group_scale_rounded_down", "a power of two below the largest", IMPL + "append_cpu.h",
           "(bits + 0x7fffff) & 0xff800000u", "bits & 0xff800000u", ["append"]),
    Mutant("append_rope_stride_of_latent", "k_pe is walked with the latent's stride", IMPL + "append_cpu.h",
           "row.from_first = token * args->k_pe_token_stride;", "row.from_first = token * args->latent_token_stride;",
           ["append"]),
    Mutant("append_params_swapped", "the query's two strides change places", IMPL + "append.h",
           "p->q_pe_out_head_stride = args->q_pe_out_head_stride * out;",
           "p->q_pe_out_head_stride = args->q_pe_out_token_stride * out;", ["append plan"]),
    Mutant("append_in_place_unchecked", "q_pe is overwritten with other strides", IMPL + "append_args.h",
           "args->q_pe_head_stride == args->q_pe_out_head_stride;", "1;", ["bad append"]),
    Mutant("append_slot_check_off_by_one", "slot num_pages x page_size passes", IMPL + "append_cpu.h",
           "page < args->num_pages)", "page <= args->num_pages)", ["append", "bad append"]),
    Mutant("merge_reads_empty_states", "a state that saw nothing is added, times zero", IMPL + "merge_cpu.h",
           "if (lathep_merge_lse(args, i, token, head) != -(double)INFINITY)", "if (1)", ["merge"]),
    Mutant("merge_base_ignored", "a base-2 lse weighs as a natural one", IMPL + "merge_cpu.h",
           "desc->lse_base == LATHE_LSE_BASE2 ? 0.69314718055994530942 : 1", "1", ["merge"]),
    Mutant("stale_entry_accepted", "a cache file of another source is taken", IMPL + "cache.h",
           "lathep_cache_header(expected, key, &image);",
           "lathep_cache_header(expected, key, &image);\n  memcpy(expected + 40, header + 40, 16);", ["cache"]),
    Mutant("damaged_entry_accepted", "a cache file whose content has changed is taken", IMPL + "cache.h",
           "memcmp(header, expected, LATHEP_CACHE_HEADER)", "memcmp(header, expected, 24)", ["cache"]),
    Mutant("key_without_options", "other compiler options find the same cache file", IMPL + "cache.h",
           "lathep_hash_text(&hash, options[i]);", "(void)options;", ["cache"]),
    Mutant("map_strides_swapped", "the copy engine takes a page's stride for a row's", IMPL + "tensor_map.h",
           "strides[0] = (uint64_t)row_stride;", "strides[0] = (uint64_t)page_stride;", ["hopper"]),
    Mutant("map_reach_unchecked", "a stride that a tensor map cannot hold is let through", IMPL + "tensor_map.h",
           "if (elements < limit)", "if (elements <= limit)", ["hopper"]),
    Mutant("map_box_too_tall", "a box has two chunks of a latent of odd ones", IMPL + "tensor_map.h",
           "return v->l % (4 * LATHEP_CHUNK) == 0 ? 2 : 1;", "return 2;", ["hopper"]),
    Mutant("pages_cut_by_boxes", "pages that are no multiple of a box are copied by boxes", IMPL + "tile.h",
           "while (page_size % tile->pages[i])", "while (page_size < tile->pages[i])", ["hopper"]),
    Mutant("few_rows_off_by_one", "17 rows go to the kernel with tiles of 16", IMPL + "dispatch.h",
           "rows > policy->max_rows", "rows > policy->max_rows + 1", ["hopper"]),
    Mutant("named_kernel_ignored", "LATHE_KERNEL leaves other kernels to be taken", IMPL + "dispatch.h",
           "if (wanted && !lathep_kernel_named(", "if (0 && !lathep_kernel_named(", ["hopper"]),
    Mutant("disabled_ignored", "LATHE_DISABLE changes nothing", IMPL + "switches.h",
           "while (disabled && *disabled) {", "while (0) {", ["hopper"]),
    Mutant("disabled_by_prefix", "LATHE_DISABLE has families that begin with a word of it", IMPL + "switches.h",
           "if (!strcmp(word, family) ||", "if (!strncmp(word, family, length) ||", ["hopper"]),
    Mutant("disabled_append_launched", "an append kernel that is switched off is launched all the same",
           IMPL + "append_check.h", "return lathep_check_enabled(LATHEP_APPEND_DESC, context, &variant);",
           "return LATHE_STATUS_OK;", ["reasons"]),
    Mutant("disabled_join_launched", "a kernel of lathe_merge that is switched off is launched all the same",
           IMPL + "merge_check.h", "return lathep_check_enabled(of, context, &variant);", "return LATHE_STATUS_OK;",
           ["reasons"]),
    Mutant("disabled_merge_launched", "a merge kernel that is switched off is launched all the same", IMPL + "dispatch.h",
           "return status ? status : lathep_dispatch_others(target, list, choice);", "return status;", ["reasons"]),
    Mutant("num_sms_ignored", "a plan takes all multiprocessors", IMPL + "dispatch.h",
           "int64_t total = (int64_t)sms * v->ctas;",
           "int64_t total = (int64_t)device->num_sms * v->ctas;", ["plan"]),
    Mutant("schedule_ignored", "a run derives what it was told is there", IMPL + "decode.h",
           "if (args->scheduled) {", "if (0) {", ["schedule"]),
    Mutant("schedule_overwritten", "a run writes its split table over the schedule's", IMPL + "decode.h",
           "p->split_table = (int *)(void *)(workspace + choice->schedule_bytes);", "", ["schedule"]),
    Mutant("schedule_unasked", "a schedule is launched early in any case", IMPL + "schedule.h",
           "args->programmatic_launch != 0", "1", ["schedule"]),
    Mutant("schedule_of_other_lengths", "cuts past the end of a request pass the validator", IMPL + "validate.h",
           "to[1] >= blocks[to[0]]", "to[1] > 1 << 20", ["schedule"]),
    Mutant("schedule_with_a_gap", "groups that leave out a part pass the validator", IMPL + "validate.h",
           "if (from[0] != at[0] || from[1] != at[1])", "if (from[0] != at[0])", ["schedule"]),
    Mutant("split_table_unchecked", "a request that would be merged wrongly passes the validator", IMPL + "validate.h",
           "row[0] != request || row[1] != parts ||", "row[0] != request ||", ["schedule"]),
    Mutant("split_slots_of_groups", "fixed cuts get slots for two parts of a group", IMPL + "dispatch.h",
           "slots = choice->merges ? (int64_t)desc->max_batch * choice->split_parts : 0;", "", ["schedule"]),
    Mutant("split_len_between_blocks", "fixed cuts may lie inside a step", IMPL + "check.h",
           "if (length % LATHEP_SPLIT_STEP)", "if (length < 0)", ["bad input"]),
    Mutant("splits_past_the_table", "more requests than the merge kernel has room for", IMPL + "check.h",
           "desc->split_len && run.max_batch > LATHEP_MAX_SPLITS", "desc->max_batch < 0", ["bad input"]),
    Mutant("reason_of_the_last_failure", "a failure that no desc is to blame for keeps an older reason", IMPL + "status.h",
           "last->error.reason = LATHE_REASON_NONE;", "", ["reasons"]),
    Mutant("reason_registers_as_memory", "too large a latent is said to lack shared memory", IMPL + "dispatch.h",
           "registers ? LATHE_REASON_REGISTERS :", "0 ? LATHE_REASON_REGISTERS :", ["reasons"]),
    Mutant("bank_padding_dropped", "rows in shared memory fall into the same banks", IMPL + "tile.h",
           "(chunks % 8 == 0 ? chunks : (chunks | 1)) * 16", "chunks * 16", ["variant"]),
]

# the same for kernels; tests: program of tests/gpu and its arguments after --direct
KERNEL = [
    Mutant("k_causal_off_by_one", "a token does not see its own row", PARTS + "work.cuh.j2",
           "p.causal ? positions - tokens.count + 1 : positions", "p.causal ? positions - tokens.count : positions",
           ["grid"]),
    Mutant("k_rescale_dropped", "output under an old maximum keeps its size", PARTS + "output.cuh.j2",
           "out[m][n][2] *= lower;", "out[m][n][2] *= 1.0f;", ["grid", "edges"]),
    Mutant("k_row_stride_swapped", "the roped cache is walked with the latent's row stride",
           PARTS + "load.cuh.j2", "in * p.kpe_row_stride", "in * p.ckv_row_stride", ["grid"]),
    Mutant("k_page_off_by_one", "the page of the next row", PARTS + "load.cuh.j2",
           "at >> p.page_shift : at / p.page_size", "(at + 1) >> p.page_shift : (at + 1) / p.page_size",
           ["grid"]),
    Mutant("k_window_off_by_one", "a token sees one row less than its window has", PARTS + "rows.cuh.j2",
           ": limit - p.window;", ": limit - p.window + 1;", ["options"]),
    Mutant("k_window_reads_all", "table entries before the window are read", PARTS + "load.cuh.j2",
           "(!WINDOW || at >= first)", "true", ["options"]),
    Mutant("k_window_unmasked", "blocks that only some rows see are seen by all", "templates/decode_sm80.cuh.j2",
           "(WINDOW && block * TOKENS < passed)", "(WINDOW && block * TOKENS < part.first_seen)", ["options"]),
    Mutant("wide_window_base_unsaid", "a block in which a warp sees nothing says no base", PARTS + "wide_softmax.cuh.j2",
           "(WINDOW && !follows) || ", "", ["options"]),
    Mutant("k_window_work_of_all_rows", "blocks before the window are work", PARTS + "lengths.cuh.j2",
           "return WINDOW ? kv_blocks(length) - blocks_before(", "return WINDOW ? kv_blocks(length) - 0 * blocks_before(",
           ["options"]),
    Mutant("k_window_slot", "a part's slot is found by blocks that are not work", PARTS + "work.cuh.j2",
           "part.begin - blocks_before(part.first_seen));", "part.begin);", ["options"]),
    Mutant("k_softcap_dropped", "logits are not capped", PARTS + "logits.cuh.j2",
           "tanh_of(s[i] * inside)", "(s[i] * inside)", ["options"]),
    Mutant("k_softcap_scaled_twice", "capped logits are scaled again", PARTS + "logits.cuh.j2",
           "SOFTCAP ? 1.0f : factor(p)", "factor(p)", ["options"]),
    Mutant("row656_scale_of_the_next", "a group's codes have the next one's scale", PARTS + "row656.cuh.j2",
           "ROW_SCALES + octet / 16 * 4", "ROW_SCALES + (octet / 16 + 1) % 4 * 4", ["options"]),
    Mutant("row656_rope_dropped", "the roped part's last chunk is another's", PARTS + "row656.cuh.j2",
           "L / 8 + chunk), rope", "L / 8 + chunk % 7), rope", ["options"]),
    Mutant("row656_stage_given_away", "a stage is filled while it is converted", "templates/decode_sm80.cuh.j2",
           "__syncthreads(); // all rows are converted, and the stage is free", "", ["options"], race=True),
    Mutant("row656_list_of_the_next", "a block's entries are those of the one that is loaded", "templates/decode_sm80.cuh.j2",
           "listed[!SPARSE ? 0 : CONVERTS ? STAGES : stage]", "listed[SPARSE ? stage : 0]", ["topk"]),
    Mutant("k_list_hole_seen", "entries that name no row count as rows of zeros", PARTS + "softmax.cuh.j2",
           "SPARSE ? !listed[at] :", "SPARSE ? false :", ["topk"]),
    Mutant("k_list_page_lost", "a list's rows are taken for pages", PARTS + "load.cuh.j2",
           "page[i] >> p.page_shift : page[i] / p.page_size;", "page[i] : page[i];", ["topk"]),
    Mutant("k_list_as_pages", "a list is read as a table of pages", PARTS + "load.cuh.j2",
           "table[SPARSE ? at :", "table[SPARSE && p.page_size == 1 ? at :", ["topk"]),
    Mutant("k_list_length_ignored", "lists are read to their end", PARTS + "lengths.cuh.j2",
           "SPARSE && p.seq_lens == nullptr ? p.max_seq_len", "SPARSE ? p.max_seq_len", ["topk"]),
    Mutant("few_window_tail_uncleared", "V before a window keeps what the slot had", "templates/decode_sm90.cuh.j2",
           "WINDOW ? hidden - i * SLOT_TOKENS : 0", "0 * hidden", ["options"]),
    Mutant("few_window_not_slow", "a window's first block is taken for one that is all seen", "templates/decode_sm90.cuh.j2",
           "left >= TOKENS && !(WINDOW && hidden > 0)", "left >= TOKENS", ["options"]),
    Mutant("few_sink_of_parts", "each part of a request has the sink, and their merge", PARTS + "few_epilogue.cuh.j2",
           "to.partial ? sum : denominator(", "to.partial && !SINKS ? sum : denominator(", ["options"]),
    Mutant("wide_window_unmasked", "blocks that only some rows see are seen by all", PARTS + "wide_scores.cuh.j2",
           "|| (WINDOW && block < passed)", "", ["options"]),
    Mutant("wide_window_uncleared", "V before a window keeps what the stage had", "templates/decode_sm90a.cuh.j2",
           "WINDOW ? part.first_seen - block * TOKENS : 0;", "0 * part.first_seen;", ["options"]),
    Mutant("wide_window_reads_all", "table entries before the window are read", PARTS + "wide_load.cuh.j2",
           "position < seen && (!WINDOW || position + PAGE > first_seen)", "position < seen", ["options"]),
    Mutant("wide_window_waits_for_all", "a box waits for pieces that do not come", PARTS + "wide_load.cuh.j2",
           "(WINDOW ? pieces() - missing() : pieces())", "pieces()", ["options"]),
    Mutant("wide_sink_of_parts", "each part of a request has the sink, and their merge", PARTS + "wide_epilogue.cuh.j2",
           "SINKS && !to.partial ?", "SINKS ?", ["options"]),
    Mutant("wide_cap_after_mask", "what is masked comes back as -cap", "templates/decode_sm90a.cuh.j2",
           "      logits.cap(p, scores);\n      mask.apply(p, scores, block);\n",
           "      mask.apply(p, scores, block);\n      logits.cap(p, scores);\n", ["options"]),
    Mutant("k_softcap_of_the_mask", "what is masked comes back as -cap", PARTS + "softmax.cuh.j2",
           "  const int lane = threadIdx.x % 32;\n",
           "  const int lane = threadIdx.x % 32;\n  masked = masked && !SOFTCAP;\n", ["options"]),
    Mutant("k_softcap_series", "the series of small logits loses a term", PARTS + "logits.cuh.j2",
           "square, -1.0f / 3)", "square, 0.0f)", ["options"]),
    Mutant("k_sink_of_parts", "each part of a request has the sink, and their merge", PARTS + "epilogue.cuh.j2",
           "to.partial ? sum : denominator(", "false ? sum : denominator(", ["options"]),
    Mutant("k_sink_not_merged", "requests in parts have no sink", PARTS + "merge_sum.cuh.j2",
           "denominator(p, row, top, sum)", "sum", ["options"]),
    Mutant("k_sink_of_another_head", "a sink is found by the token", PARTS + "sinks.cuh.j2",
           "head_of(p, row).head", "head_of(p, row).token", ["options"]),
    Mutant("k_sink_in_base_2", "a sink is taken for a logit in base 2", PARTS + "sinks.cuh.j2",
           "LOG2_E = 1.44269504f", "LOG2_E = 1.0f", ["options"]),
    Mutant("k_tree_bit_of_the_next", "bits are looked for one token too far", PARTS + "rows.cuh.j2",
           ">> other % 32 & 1", ">> (other + 1) % 32 & 1", ["options"]),
    Mutant("k_tree_of_the_first_token", "all tokens of a request have the first one's row of the mask",
           PARTS + "rows.cuh.j2", "own * p.tree_mask_stride", "tokens.first * p.tree_mask_stride", ["options"]),
    Mutant("k_tree_unmasked", "only a request's last block is masked", PARTS + "rows.cuh.j2",
           "TREE ? rows_before(p, max(positions - tokens.count, 0)) : limit(p, token)", "limit(p, token)", ["options"]),
    Mutant("k_ranks_causal_by_row", "a rank's tokens see as many of its rows as of all", PARTS + "rows.cuh.j2",
           "return rows_before(p, reach(token));", "return min(reach(token), rows_before(p, positions));",
           ["options", "ranks"]),
    Mutant("k_ranks_of_the_first", "every rank takes the first one's positions for its own", PARTS + "lengths.cuh.j2",
           "end % p.cp_round - p.cp_first, 0", "end % p.cp_round, 0", ["options", "ranks"]),
    Mutant("k_sink_not_joined", "the lse of a rank that adds sinks is without", PARTS + "sinks.cuh.j2",
           "SINK_IN_LSE = SINKS && RANKS", "SINK_IN_LSE = false", ["options", "ranks"]),
    Mutant("k_sink_in_parts", "each part of a request has the sink in its lse", PARTS + "epilogue.cuh.j2",
           "SINK_IN_LSE && !to.partial", "SINK_IN_LSE", ["options", "ranks"]),
    Mutant("k_scale_not_read", "the scale in memory is not read", PARTS + "logits.cuh.j2",
           "multiply(p.scale_log2, *p.softmax_scale)", "p.scale_log2", ["options"]),
    Mutant("k_query_codes_swapped", "pairs of an e4m3 query's columns change places", PARTS + "load.cuh.j2",
           "chunk_offset<Q_CHUNKS>(row, step * 2 + 1) + quad * 4, high", "chunk_offset<Q_CHUNKS>(row, step * 2 + 1) + (quad ^ 1) * 4, high",
           ["options"]),
    Mutant("k_query_steps_left_out", "half of an e4m3 query is not loaded", PARTS + "load.cuh.j2",
           "step < K_STEPS; step += 2", "step < K_STEPS / 2; step += 2", ["options"]),
    Mutant("k_output_codes_swapped", "columns of an e4m3 output change places", PARTS + "epilogue.cuh.j2",
           "(codes + 8) = static_cast<unsigned short>(pack_e4m3(c, d))", "(codes + 8) = static_cast<unsigned short>(pack_e4m3(d, c))",
           ["options"]),
    Mutant("k_merged_codes_swapped", "columns of a merged e4m3 output change places", PARTS + "merge_ways.cuh.j2",
           "words[0] | words[1] << 16, words[2] | words[3] << 16", "words[1] | words[0] << 16, words[2] | words[3] << 16",
           ["options"]),
    Mutant("k_num_pages_ignored", "entries outside the cache are read", PARTS + "load.cuh.j2",
           "page[i] >= 0 && entry < p.num_pages", "page[i] >= 0", ["edges"]),
    Mutant("k_length_not_clamped", "a length beyond max_seq_len is believed", PARTS + "lengths.cuh.j2",
           "clamp(p.seq_lens[request], 0, p.max_seq_len);", "p.seq_lens[request];", ["edges"]),
    Mutant("k_tail_mask_dropped", "rows past the last are seen as zeros", PARTS + "rows.cuh.j2",
           "at < limit &&", "at <= limit &&", ["grid"]),
    Mutant("k_kv_scale_dropped_on_v", "the scale of an e4m3 cache reaches logits, not values",
           PARTS + "epilogue.cuh.j2", "divide(p.out_scale, whole)", "divide(1.0f, whole)", ["grid"]),
    Mutant("k_q_head_stride_wrong", "heads of the query are found by the token stride", PARTS + "load.cuh.j2",
           "head * p.q_nope_head_stride", "head * p.q_nope_token_stride", ["grid"]),
    Mutant("k_table_stride_wrong", "rows of the block table are taken to be packed",
           "templates/decode_sm80.cuh.j2", "static_cast<unsigned>(part.request) * p.block_table_stride",
           "request * ((p.max_seq_len + p.page_size - 1) / p.page_size)", ["grid"]),
    Mutant("k_merge_weight_wrong", "every part weighs the same", PARTS + "merge_sum.cuh.j2",
           "const float weight = exp2_approx(lse - base(top));", "const float weight = 1.0f;", ["grid", "edges"]),
    Mutant("k_merge_exponent_ignored", "parts are taken without their power of two", PARTS + "merge_sum.cuh.j2",
           "static_cast<unsigned>(127 + exponent)", "static_cast<unsigned>(127)", ["grid"]),
    Mutant("k_nan_code_is_480", "a NaN code of e4m3 is a number", "templates/device/e4m3.cuh.j2",
           "return (codes & 0x7f7f7f7fu) + 0x01010101u;", "return 0;", ["e4m3"]),
    Mutant("k_wait_missing", "a block is used before it has arrived", "templates/decode_sm80.cuh.j2",
           "copy_async_wait<AHEAD - 1>();", "copy_async_wait<AHEAD>();", ["grid", "stress"], race=True),
    Mutant("k_barrier_missing", "P is read before all warps have written it", "templates/decode_sm80.cuh.j2",
           "      __syncthreads();\n      rescale_output(out, rescale);", "      rescale_output(out, rescale);",
           ["grid", "stress"], race=True),
    Mutant("k_merge_does_not_wait", "parts are merged while they are written", "templates/merge_sm80.cuh.j2",
           "  if (p.schedule == nullptr) {\n    wait_for_predecessors();\n  }\n", "", ["stress", "grid"]),
    Mutant("k_scheduled_merge_does_not_wait", "parts of a scheduled run are merged while they are written",
           "templates/merge_sm80.cuh.j2", "  if (p.schedule != nullptr) {\n    wait_for_predecessors();\n  }\n", "", ["schedule"]),
    Mutant("k_decode_does_not_wait", "a run that is launched early reads at once", "templates/decode_sm80.cuh.j2",
           "  wait_for_predecessors();\n", "", ["programmatic"]),

    # schedules and fixed cuts
    Mutant("k_slot_wrong", "a part that ends a request goes where one that begins it goes", PARTS + "slots.cuh.j2",
           "2 * group + (begin == 0)", "2 * group + 1", ["grid", "edges"]),
    Mutant("k_schedule_does_not_wait", "a schedule that is launched early reads at once",
           "templates/schedule_sm80.cuh.j2", "  wait_for_predecessors();\n", "", ["programmatic"]),
    Mutant("k_schedule_of_the_neighbour", "a group works by the next one's schedule", PARTS + "work.cuh.j2",
           "(p.schedule)[2 * group + threadIdx.x]", "(p.schedule)[2 * (group + 1) % (2 * p.groups) + threadIdx.x]",
           ["schedule"]),
    Mutant("k_schedule_without_splits", "a schedule leaves out what is to be merged", "templates/schedule_sm80.cuh.j2",
           "    write_splits(p, group, cuts[0], cuts[1]);\n", "", ["schedule"]),
    Mutant("k_fixed_parts_lost", "a group ends with the first of a request's fixed parts", PARTS + "work.cuh.j2",
           "p.split_blocks > 0 && part.begin + p.split_blocks < kv_blocks(part.length)", "false", ["schedule"]),
    Mutant("k_fixed_cut_moved", "fixed cuts lie where they balance groups", PARTS + "schedule.cuh.j2",
           "(at + each - 1) / each * p.split_blocks;", "(at + each - 1) / each * p.split_blocks - (at > each);",
           ["schedule"]),
    Mutant("few_query_of_the_next_request", "the second part of a request gets another's query",
           "templates/decode_sm90.cuh.j2", "query_tokens(p, next.request)",
           "query_tokens(p, min(part.request + 1, p.batch - 1))", ["schedule"]),

    # append and merge
    Mutant("append_sine_turned", "a rotation the other way round", PARTS + "append_rotate.cuh.j2",
           "a = fmaf(x, c, -multiply(b, s));\n  b = fmaf(b, c, multiply(x, s));",
           "a = fmaf(x, c, multiply(b, s));\n  b = fmaf(b, c, -multiply(x, s));", ["append"]),
    Mutant("append_halves_mixed_up", "the second half begins at the wrong element", PARTS + "append_rotate.cuh.j2",
           "unit * 8 + R / 2", "unit * 8 + 8", ["append"]),
    Mutant("append_search_stops_early", "a token goes to the first request of its 32nd", PARTS + "append_place.cuh.j2",
           "while (span > 1) {", "if (span > 1) {", ["append"]),
    Mutant("append_token_past_the_end", "a request has one token more", PARTS + "append_place.cuh.j2",
           "if (t >= count) {", "if (t > count) {", ["append"]),
    Mutant("append_page_unchecked", "pages outside the cache are written", PARTS + "append_place.cuh.j2",
           "return page >= 0 && page < p.num_pages;", "return page >= 0;", ["append"]),
    Mutant("append_half_of_a_unit", "of two pieces the first is stored twice", PARTS + "append_query.cuh.j2",
           "unpack(pieces[i + PIECES - 1])", "unpack(pieces[i])", ["append"]),
    Mutant("append_group_of_four_lanes", "a scale is that of half its elements", PARTS + "append_row.cuh.j2",
           "for (int step = 4; step > 0; step /= 2)", "for (int step = 2; step > 0; step /= 2)", ["append"]),
    Mutant("append_tile_without_its_end", "a block writes heads of the next", PARTS + "append_query.cuh.j2",
           "heads = min(p.tile_heads, p.num_heads - first_head);", "heads = p.tile_heads;", ["append"]),
    Mutant("append_does_not_wait", "a run that is launched early reads at once", "templates/append_sm80.cuh.j2",
           "  wait_for_predecessors();\n", "", ["append"]),
    Mutant("join_empty_state_counts", "a state of -inf is read", "templates/join_sm80.cuh.j2",
           "seen[i] = mine[i] != negative_infinity();", "seen[i] = i * 32 + lane < p.num_states;", ["merge"]),
    Mutant("join_second_half_lost", "states 32 and up take the places of the first", "templates/join_sm80.cuh.j2",
           "__popc(low) + __popc(high & before)}", "__popc(high & before)}", ["merge"]),

    # what both of Hopper's kernels have
    Mutant("k_lse_base_ignored", "a natural lse comes in base 2", PARTS + "destination.cuh.j2",
           "lse * p.lse_scale", "lse", ["grid"]),

    # the few-rows kernel
    Mutant("few_does_not_wait", "a run that is launched early reads at once", "templates/decode_sm90.cuh.j2",
           "  wait_for_predecessors();\n", "", ["programmatic"]),
    Mutant("few_rescale_dropped", "output under an old reference keeps its size", PARTS + "few_softmax.cuh.j2",
           "out[n][half * 2] *= shrink;", "out[n][half * 2] *= 1.0f;", ["edges", "grid"]),
    Mutant("few_sum_rescale_dropped", "sums under an old reference keep their size", PARTS + "few_softmax.cuh.j2",
           "multiply(state.sum[half], shrink)", "multiply(state.sum[half], 1.0f)", ["edges", "grid"]),
    Mutant("few_vote_ignored", "no new reference is agreed on", PARTS + "few_softmax.cuh.j2",
           "if (sync_any(CONSUMER_BARRIER, CONSUMERS * 32, high)) {",
           "if (sync_any(CONSUMER_BARRIER, CONSUMERS * 32, false)) {", ["grid"]),
    Mutant("few_tail_not_cleared", "V past the last row is multiplied by zero", PARTS + "few_output.cuh.j2",
           "row >= to || row < from", "row >= to + SLOT_TOKENS || row < from", ["grid"]),
    Mutant("few_page_row_dropped", "every slot is the first of its page", PARTS + "few_fill.cuh.j2",
           "row = position - index * p.page_size;", "row = 0;", ["edges", "grid"]),
    Mutant("few_query_rows_reversed", "rows of the query are in another order than the output's",
           PARTS + "few_load.cuh.j2", "head = of.head;", "head = p.num_heads - 1 - of.head;",
           ["grid"]),
    Mutant("few_rope_not_padded", "what lies behind a query's rope part is taken along", PARTS + "few_load.cuh.j2",
           "piece < R / 8 ? bytes : 0", "bytes", ["grid"]),
    Mutant("few_swap_dropped", "a warp of a pair leaves out the other's k steps", PARTS + "few_scores.cuh.j2",
           "+ take[i];", "+ 0.0f * take[i];", ["grid"]),
    Mutant("few_full_not_waited_for", "a slot is used before it has come in", "templates/decode_sm90.cuh.j2",
           "        barrier_wait(full + mine.slot * 8, mine.parity);\n", "", ["stress", "grid"], race=True),
    Mutant("few_empty_not_waited_for", "a slot is filled before it has been released", PARTS + "few_fill.cuh.j2",
           "        if (lane == 0) {\n          barrier_wait(empty + at.slot * 8, at.parity ^ 1);\n",
           "        if (lane == 0) {\n", ["edges", "lengths", "stress"], race=True),
    Mutant("few_empty_not_waited_for_by_rows", "a slot is filled row by row before it has been released",
           PARTS + "few_fill.cuh.j2",
           "          barrier_wait(empty + at.slot * 8, at.parity ^ 1);\n          copy_row(", "          copy_row(",
           ["lengths", "stress"], race=True),
    Mutant("few_released_too_early", "slots are refilled while they are read", "templates/decode_sm90.cuh.j2",
           """      softmax_block(state, s, out, logits.rest(p), p_write + p_now, rest);

      // Past the vote some warp has seen each slot full.
      if (left >= TOKENS && !(WINDOW && hidden > 0)) {
#pragma unroll
        for (int i = 0; i < BLOCK_SLOTS; ++i) {
          accumulate_slot(out, (p_read + p_now) ^ i * 32, values, at.plus(i).slot * SLOT_BYTES);
        }
        release(empty, at, BLOCK_SLOTS);
""", """      if (left >= TOKENS && !(WINDOW && hidden > 0)) {
        release(empty, at, BLOCK_SLOTS);
      }
      softmax_block(state, s, out, logits.rest(p), p_write + p_now, rest);
      if (left >= TOKENS && !(WINDOW && hidden > 0)) {
#pragma unroll
        for (int i = 0; i < BLOCK_SLOTS; ++i) {
          accumulate_slot(out, (p_read + p_now) ^ i * 32, values, at.plus(i).slot * SLOT_BYTES);
        }
""", ["stress", "edges", "grid"], race=True),

    # the wide kernel
    Mutant("wide_does_not_wait", "a run that is launched early reads at once", "templates/decode_sm90a.cuh.j2",
           "  wait_for_predecessors();\n", "", ["programmatic"]),
    Mutant("wide_rescale_dropped", "output under an old base keeps its size", PARTS + "wide_output.cuh.j2",
           "out[box][i] *= i % 4 < 2 ? upper : lower;", "out[box][i] *= i % 4 < 2 ? upper : 1.0f;",
           ["edges", "grid"]),
    Mutant("wide_rescale_rows_swapped", "a row shrinks by what another one should", PARTS + "wide_output.cuh.j2",
           "i % 4 < 2 ? upper : lower;", "i % 4 < 2 ? lower : upper;", ["edges", "grid"]),
    Mutant("wide_base_not_handed_over", "a warpgroup goes on from its own last base", PARTS + "wide_softmax.cuh.j2",
           "      base[0] = load_shared_float(s.base() + own_row() * 4);\n", "", ["grid", "edges"]),
    Mutant("wide_sum_rescale_dropped", "sums under an old base keep their size", PARTS + "wide_softmax.cuh.j2",
           "base[half] == mine[half] ? 1.0f : exp2_approx(mine[half] - base[half]);",
           "base[half] == mine[half] ? 1.0f : exp2_approx(0.0f);", ["edges", "grid"]),
    Mutant("wide_sums_of_one_warpgroup", "the sum of the even blocks stands for the odd ones', too",
           PARTS + "wide_epilogue.cuh.j2", "load_shared_float(s.sums(i) + at)", "load_shared_float(s.sums(0) + at)",
           ["edges"]),
    Mutant("wide_bases_not_joined", "sums under two bases are added as they are", PARTS + "wide_epilogue.cuh.j2",
           "base[i] == reached ? 1.0f : exp2_approx(base[i] - reached)", "base[i] == reached ? 1.0f : exp2_approx(0.0f)",
           ["edges", "grid"]),
    Mutant("wide_factor_of_another_row", "the lower rows are normalised as the upper ones",
           "templates/decode_sm90a.cuh.j2", "load_shared_float(s.factor() + own_row() * 4 + 32);",
           "load_shared_float(s.factor() + own_row() * 4);", ["grid"]),
    Mutant("wide_tail_mask_off_by_one", "the row past the last is seen", PARTS + "wide_scores.cuh.j2",
           "limit[i % 4 / 2])) {", "limit[i % 4 / 2] + 1)) {", ["grid"]),
    Mutant("wide_mask_starts_late", "the first block that needs a mask gets none", PARTS + "wide_scores.cuh.j2",
           "block >= whole ||", "block > whole ||", ["grid"]),
    Mutant("wide_rope_cut_short", "scores leave out a part of the rope part", PARTS + "wide_scores.cuh.j2",
           "BOX == BOXES ? R / 16 :", "BOX == BOXES ? R / 32 :", ["grid"]),
    Mutant("wide_tail_not_cleared", "V past the last row is multiplied by zero", "templates/decode_sm90a.cuh.j2",
           "if ((block + 1) * TOKENS > part.seen ||", "if (block * TOKENS > part.seen ||", ["grid"]),
    Mutant("wide_page_row_dropped", "every box is the first of its page", PARTS + "wide_load.cuh.j2",
           "row = position - entry * p.page_size;", "row = 0;", ["grid"]),
    Mutant("wide_query_rows_reversed", "rows of the query are in another order than the output's",
           PARTS + "wide_query.cuh.j2", "head = of.head;", "head = p.num_heads - 1 - of.head;", ["grid"]),
    Mutant("wide_full_not_waited_for", "a box is used before it has come in", PARTS + "wide_scores.cuh.j2",
           "    barrier_wait(s.ring.full(turn.stage, BOX), turn.parity);\n", "", ["stress", "grid"], race=True),
    Mutant("wide_rows_not_waited_for", "a row that threads copy is used before it has come in",
           PARTS + "wide_scores.cuh.j2", "    copy_async_wait<PLACES - 1 - PLACE>();\n", "", ["grid", "lengths"]),
    Mutant("wide_rows_of_one_page", "all of a thread's rows are looked up where its first is", PARTS + "wide_rows.cuh.j2",
           "block * TOKENS + own() + i * 16;", "block * TOKENS + own();", ["grid"]),
    Mutant("wide_rows_past_the_cache", "a page outside the cache is read", PARTS + "wide_rows.cuh.j2",
           "const bool valid = page[i] >= 0 && page[i] < p.num_pages;", "const bool valid = true;", ["edges"]),
    Mutant("wide_empty_not_waited_for", "a box is filled before it has been released", PARTS + "wide_load.cuh.j2",
           "      barrier_wait(s.ring.empty(turn.stage, box), turn.parity ^ 1);\n", "",
           ["edges", "lengths", "stress"], race=True),
    Mutant("wide_p_not_waited_for", "output is taken from probabilities that are not there yet",
           "templates/decode_sm90a.cuh.j2", "      barrier_wait(s.p_full(turn.stage), turn.parity);\n", "",
           ["edges", "grid", "stress"], race=True),
    Mutant("wide_base_not_waited_for", "a warpgroup goes on before the other's base is there",
           PARTS + "wide_softmax.cuh.j2", "      barrier_wait(s.base_full(group ^ 1), parity);\n", "",
           ["edges", "maxima", "stress"], race=True),
    Mutant("wide_released_too_early", "boxes are refilled while they are multiplied", PARTS + "wide_output.cuh.j2",
           """    if (box == COUNT - 1) {
      wgmma_wait<0>();
    } else {
      wgmma_wait<1>();
    }
    if (leader) {
      barrier_arrive(s.ring.empty(stage, first + box));
    }
""", """    if (leader) {
      barrier_arrive(s.ring.empty(stage, first + box));
    }
    if (box == COUNT - 1) {
      wgmma_wait<0>();
    } else {
      wgmma_wait<1>();
    }
""", ["stress", "edges", "grid"], race=True),
    Mutant("wide_factor_not_waited_for", "output is normalised by the part before's factors",
           "templates/decode_sm90a.cuh.j2", "    barrier_wait(s.factor_full(), given);\n", "", ["stress", "grid"],
           race=True),
]
for mutant in KERNEL:
    mutant.gpu = True


def run(command, **options):
    return subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False, **options)


def copy_tree(to):
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, symlinks=True,
                            ignore=shutil.ignore_patterns("__pycache__", "build*"))
        elif source.exists():
            shutil.copy2(source, to / name)


def stop(what, output):
    print(output[-4000:])
    raise SystemExit(f"mutate.py: {what}")


# ------------------------------------------------------------------------------------------ host mutants


class HostTree:
    """A copy of the tree with a build folder, in which one file at a time is changed."""

    def __init__(self, folder):
        self.root, self.build = folder / "tree", folder / "build"
        self.root.mkdir()
        copy_tree(self.root)
        # Most of a mutant's time is the compiler's: nothing that costs it more than a test's running costs.
        done = run(["meson", "setup", self.build, self.root, "-Dcubins=disabled", "-Dnvcc=disabled", "-Doptimization=0",
                    "-Ddebug=false"])
        if done.returncode:
            stop("meson setup fails", done.stdout)
        listed = run(["meson", "introspect", "--tests", self.build])
        self.tests = {test["name"]: test for test in json.loads(listed.stdout)}

    def test(self, name):
        """("built" or not, passed or not, output) of one Meson test, its program brought up to date."""
        if name not in self.tests:
            raise SystemExit(f"mutate.py: there is no test named {name!r}")
        program = Path(self.tests[name]["cmd"][0])
        target = os.path.relpath(program, self.build)
        built = run(["ninja", "-C", self.build, target])
        if built.returncode:
            return False, False, built.stdout
        done = run(["meson", "test", "-C", self.build, name]) # builds what else the test needs
        return True, done.returncode == 0, done.stdout


def host(mutants, keep):
    folder = Path(tempfile.mkdtemp(prefix="lathe-mutants-"))
    survived = 0
    try:
        tree = HostTree(folder)
        for name in sorted({name for mutant in mutants for name in mutant.tests}):
            built, passed, output = tree.test(name)
            if not (built and passed):
                stop(f"test {name!r} fails before anything is planted", output)
        for number, mutant in enumerate(mutants, 1):
            path = tree.root / mutant.file
            original = path.read_text(encoding="utf-8")
            path.write_text(mutant.mutated(tree.root), encoding="utf-8")
            by = None
            for name in mutant.tests:
                built, passed, output = tree.test(name)
                if not built:
                    stop(f"{mutant.name} does not compile", output)
                if not passed:
                    by = name
                    break
            path.write_text(original, encoding="utf-8")
            survived += by is None
            report(number, mutant, by)
    finally:
        if keep:
            print(f"# kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return summary(len(mutants), survived)


# ---------------------------------------------------------------------------------------- kernel mutants


def python_with_jinja():
    for candidate in [sys.executable, "python3", "/usr/bin/python3"]:
        try:
            if run([candidate, "-c", "import jinja2"]).returncode == 0:
                return candidate
        except FileNotFoundError:
            pass
    raise SystemExit("mutate.py: no Python with Jinja2 (Debian: python3-jinja2)")


def build_one(mutant, programs, to, python):
    """The tests' programs with the mutant's kernels inside."""
    with tempfile.TemporaryDirectory(prefix="lathe-mutant-") as temporary:
        root = Path(temporary)
        copy_tree(root)
        if mutant:
            (root / mutant.file).write_text(mutant.mutated(root), encoding="utf-8")
        done = run([python, root / "codegen/generate.py", "--out", root / "generated"], cwd=root)
        if done.returncode:
            stop(f"generate.py fails for {mutant.name if mutant else 'the tree itself'}", done.stdout)
        to.mkdir(parents=True, exist_ok=True)
        for program in programs:
            done = run([os.environ.get("CC", "cc"), "-std=c11", "-O1", "-s", "-DGPU_TEST_DIRECT",
                        "-I", root / "include", "-I", root / "generated", root / f"tests/gpu/{program}.c",
                        "-o", to / program, "-ldl", "-lpthread", "-lm"])
            if done.returncode:
                stop(f"{program} does not compile", done.stdout)
        if mutant and mutant.race:
            (to / "race").write_text(mutant.what + "\n", encoding="utf-8")


def build_kernels(mutants, folder):
    python = python_with_jinja()
    programs = sorted({name for mutant in mutants for name in mutant.tests})
    build_one(None, programs, folder / "none", python)
    shutil.copy2(Path(__file__), folder / "mutate.py")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = [pool.submit(build_one, mutant, sorted(set(mutant.tests)), folder / mutant.name, python)
                 for mutant in mutants]
        for mutant, one in zip(mutants, built):
            one.result()
            print(f"# built {mutant.name}", flush=True)


def run_program(path):
    """None if it passes, else why it is taken as a failure."""
    environment = dict(os.environ, LATHE_CACHE="0")
    # libraries that were carried along, and NVRTC where it is not on the loader's path
    libraries = [str(ROOT / ".gpu/lib"), environment.get("LD_LIBRARY_PATH", ""), "/usr/local/cuda/lib64"]
    environment["LD_LIBRARY_PATH"] = ":".join(part for part in libraries if part)
    # the stress test needs its time, the others are as good on small cases
    size = [] if path.name == "stress" else ["--small"]
    try:
        done = run([path, "--direct"] + size, env=environment, timeout=180)
    except subprocess.TimeoutExpired:
        return "hangs"
    ran = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "not ok ")) and "# SKIP" not in line]
    if not ran and "# SKIP" in done.stdout: # some tests are too large for a small run; all of them are not
        raise SystemExit("mutate.py: no GPU here: " + done.stdout.split("# SKIP", 1)[1].splitlines()[0])
    if "LATHE_STATUS_COMPILE_FAILED" in done.stdout:
        stop(f"{path} holds a kernel that does not compile", done.stdout)
    return None if done.returncode == 0 else f"exit {done.returncode}"


def run_mutant(mutant, folder):
    """The program that noticed, and how; None if none did."""
    for program in mutant.tests:
        why = run_program(folder / mutant.name / program)
        if why:
            return f"{program} ({why})"
    return None


def run_kernels(mutants, folder, jobs):
    survived = 0
    # Most of a mutant's time is compiling on one core, and each has a process, hence a context, of its own.
    with ThreadPoolExecutor(jobs) as pool:
        programs = sorted({name for mutant in mutants for name in mutant.tests})
        for program, why in zip(programs, pool.map(lambda name: run_program(folder / "none" / name), programs)):
            if why:
                raise SystemExit(f"mutate.py: {program} fails before anything is planted: {why}")
        found = pool.map(lambda mutant: run_mutant(mutant, folder), mutants)
        for number, (mutant, by) in enumerate(zip(mutants, found), 1):
            survived += by is None
            report(number, mutant, by)
    return summary(len(mutants), survived)


def gpu(mutants, arguments):
    if arguments.run:
        return run_kernels(mutants, Path(arguments.run), arguments.jobs)
    if arguments.build:
        build_kernels(mutants, Path(arguments.build))
        return 0
    with tempfile.TemporaryDirectory(prefix="lathe-mutants-") as folder:
        build_kernels(mutants, Path(folder))
        return run_kernels(mutants, Path(folder), arguments.jobs)


# ------------------------------------------------------------------------------------------------- main


def report(number, mutant, by):
    verdict = f"noticed by {by}" if by else f"SURVIVED {', '.join(mutant.tests)}"
    print(f"{'ok' if by else 'not ok'} {number} - {mutant.name}: {mutant.what}: {verdict}", flush=True)


def summary(count, survived):
    print(f"1..{count}")
    print(f"# {count - survived} of {count} mutants noticed")
    return 1 if survived else 0


def main():
    parser = argparse.ArgumentParser(description="plants mistakes and demands that tests notice")
    parser.add_argument("--gpu", action="store_true", help="kernel mutants in place of host ones")
    parser.add_argument("--build", metavar="DIR", help="with --gpu: only build them, into DIR")
    parser.add_argument("--run", metavar="DIR", help="with --gpu: only run what is in DIR")
    parser.add_argument("--only", metavar="TEXT", default="", help="mutants whose name has TEXT")
    parser.add_argument("--sample", metavar="N", type=int, default=0, help="only N of them, spread over the list")
    parser.add_argument("--jobs", metavar="N", type=int, default=max(1, (os.cpu_count() or 1) // 4),
                        help="with --gpu: mutants run at a time")
    parser.add_argument("--check", action="store_true", help="only look whether substitutions match")
    parser.add_argument("--list", action="store_true", help="name the mutants")
    parser.add_argument("--keep", action="store_true", help="keep the temporary tree")
    arguments = parser.parse_args()
    if arguments.check or arguments.list:
        for mutant in HOST + KERNEL:
            mutant.mutated(ROOT)
            if arguments.list:
                where = "gpu" if mutant.gpu else "host"
                print(f"{where:4} {mutant.name:30} {mutant.what}")
        print(f"ok 1 - {len(HOST)} host and {len(KERNEL)} kernel mutants, every substitution matches\n1..1")
        return 0
    mutants = [m for m in (KERNEL if arguments.gpu else HOST) if arguments.only in m.name]
    if not mutants:
        raise SystemExit(f"mutate.py: no mutant is named like {arguments.only!r}")
    if 0 < arguments.sample < len(mutants):
        mutants = [mutants[i * len(mutants) // arguments.sample] for i in range(arguments.sample)]
    for mutant in mutants:
        if not arguments.run:
            mutant.mutated(ROOT)
    return gpu(mutants, arguments) if arguments.gpu else host(mutants, arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
