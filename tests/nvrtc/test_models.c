// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The kernels that each model of the list is dispatched to, at every tensor parallelism that its
// heads allow, compiled: for an A100 and for an H100.
#define _GNU_SOURCE
#include "real_nvrtc.h"

#include "../ref/models.h"

#include <criterion/parameterized.h>

typedef struct device_case {
  int major, shared_optin;
  char policy[32]; // of the kernel of DeepSeek-V3 on one rank
} device_case;

static device_case devices[] = {{8, 166912, "decode_sm80_"}, {9, 232448, "decode_sm90a_"}};

ParameterizedTestParameters(models, kernels_compile) {
  return cr_make_param_array(device_case, devices, 2);
}

ParameterizedTest(device_case *d, models, kernels_compile, .timeout = 900) {
  lathe_context *context;
  int runs = 0;
  test_begin_real();
  cuda->major = d->major;
  cuda->shared_optin = d->shared_optin;
  context = real_context();
  for (int i = 0; i < LATHE_NUM_MODELS; i++)
    for (int ranks = 1; ranks <= 8; ranks *= 2) {
      const lathe_model *model = &lathe_models[i];
      lathe_decode_desc desc = model_desc(model, ranks), filled;
      lathep_candidates list;
      lathep_choice choice;
      if (!desc.num_heads)
        continue;
      desc.page_size = 64;
      desc.max_batch = 64;
      desc.max_seq_len = 16384;
      cr_assert_eq(lathep_decode_prepare(context, &desc, &filled, &list, &choice), LATHE_STATUS_OK,
                   "%s over %d ranks: %s", model->name, ranks, lathe_last_error()->message);
      compile_once(context, &choice.decode, 10 * d->major);
      compile_once(context, &choice.merge, 10 * d->major);
      compile_once(context, &choice.schedule, 10 * d->major);
      runs++;
      if (ranks == 1 && strcmp(model->name, "deepseek-v3") == 0)
        cr_expect(strstr(list.text, d->policy) && choice.decode.rows == 64, "%s", list.text);
    }
  cr_expect(runs > 3 * LATHE_NUM_MODELS && num_compiled > 15, "%d runs of %d kernels", runs,
            num_compiled);
  lathe_context_destroy(context);
  test_end();
}
