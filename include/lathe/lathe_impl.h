// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The implementation: included by lathe.h, once, where LATHE_IMPLEMENTATION is defined. Each file
// has one concern and stands on those before it, so their order is not the alphabet's.

// clang-format off
#include "impl/base.h"
#include "impl/status.h"
#include "impl/reason.h"
#include "impl/alloc.h"
#include "impl/log.h"
#include "impl/hash.h"

#include "impl/half.h"
#include "impl/scale.h"
#include "impl/kernel_params.h"
#include "impl/append_params.h"
#include "impl/join_params.h"
#include "impl/ranks.h"
#include "impl/variant.h"
#include "impl/tile.h"
#include "impl/source.h"
#include "impl/env.h"
#include "impl/switches.h"

#include "impl/loader.h"
#include "impl/device.h"
#include "impl/context.h"
#include "impl/cache.h"
#include "impl/jit.h"
#include "impl/kernel.h"
#include "impl/create.h"

#include "impl/check.h"
#include "impl/tensor.h"
#include "impl/args_options.h"
#include "impl/args.h"
#include "impl/dispatch.h"
#include "impl/support.h"
#include "impl/cpu_rows.h"
#include "impl/cpu.h"
#include "impl/plan.h"
#include "impl/tensor_map.h"
#include "impl/decode.h"
#include "impl/validate.h"
#include "impl/schedule.h"

#include "impl/append_check.h"
#include "impl/append_args.h"
#include "impl/append_cpu.h"
#include "impl/append.h"
#include "impl/append_validate.h"

#include "impl/merge_check.h"
#include "impl/merge_cpu.h"
#include "impl/merge.h"
// clang-format on
