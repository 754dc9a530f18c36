// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// What compiler.c gives in place of a cubin and driver.c takes: these words and the path of a
// shared object.
#ifndef LATHE_TESTS_EMULATOR_COMPILER_H
#define LATHE_TESTS_EMULATOR_COMPILER_H

#define EMULATOR_IMAGE "emulated kernel: "

#endif
