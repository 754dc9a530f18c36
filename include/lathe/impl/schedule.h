// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// A schedule that is made beforehand: one kernel writes to the workspace what the runs of a step
// would each derive from the lengths.

// Copies and checks what a schedule is made of. *filled is as a run's args that have it, and
// without tensors.
LATHEP_FN lathe_status lathep_schedule_args(const lathe_decode_plan *plan,
                                            const lathe_decode_args *args,
                                            lathe_decode_args *filled) {
  lathe_status status;
  if (!args)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "args is null; give the lathe_decode_args of the runs to come");
  memset(filled, 0, sizeof *filled);
  filled->batch = args->batch;
  filled->q_len = args->q_len;
  filled->cu_q_lens = args->cu_q_lens;
  filled->num_tokens = args->num_tokens;
  filled->seq_lens = args->seq_lens;
  filled->sparse_lens = args->sparse_lens;
  filled->block_table_stride = args->block_table_stride;
  filled->workspace = args->workspace;
  filled->workspace_size = args->workspace_size;
  filled->programmatic_launch = args->programmatic_launch;
  filled->scheduled = 1;
  status = lathep_check_counts(LATHEP_DECODE_ARGS, &plan->asked, filled);
  if (!status)
    status = lathep_check_lengths(&plan->asked, filled);
  if (!status)
    status = lathep_check_tables(LATHEP_DECODE_ARGS, &plan->asked, filled);
  if (!status)
    status = lathep_check_workspace(plan->choice.workspace_size, filled);
  lathep_args_of_run(&plan->asked, filled);
  if (!status && plan->context->backend == LATHE_BACKEND_CUDA)
    status = lathep_plan_programmatic(plan, filled->programmatic_launch);
  return status;
}

LATHEP_FN lathe_status lathep_schedule_enqueue(const lathe_decode_plan *plan,
                                               const lathe_decode_args *args, lathe_stream stream) {
  struct lathep_decode_params params;
  void *arguments[] = {&params};
  lathep_decode_params_fill(plan, args, &params);
  return lathep_launch(plan->context, plan->schedule, params.groups, plan->choice.schedule.threads,
                       0, stream, arguments, args->programmatic_launch != 0);
}

LATHE_API lathe_status lathe_decode_schedule(lathe_decode_plan *plan, const lathe_decode_args *args,
                                             lathe_stream stream) {
  lathe_decode_args filled;
  lathe_status status;
  int pushed;
  if (!plan)
    return lathep_fail(LATHE_STATUS_INVALID_ARGUMENT,
                       "plan is null; give one made by lathe_decode_plan_create()");
  status = lathep_schedule_args(plan, args, &filled);
  if (status)
    return status;
  if (plan->context->backend == LATHE_BACKEND_CPU)
    return plan->context->env.check ? lathep_schedule_validate(plan, &filled, stream)
                                    : LATHE_STATUS_OK;
  status = lathep_enter(plan->context, &pushed);
  if (status)
    return status;
  if (plan->context->env.check && !lathep_capturing(plan->context, stream))
    status = lathep_schedule_validate(plan, &filled, stream);
  if (!status)
    status = lathep_schedule_enqueue(plan, &filled, stream);
  lathep_leave(plan->context, pushed);
  return status;
}
