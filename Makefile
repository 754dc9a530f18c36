# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
#
# The front door for people: sets up a Debian or Ubuntu machine where that is allowed, then calls
# Meson. Everything else is Meson: see CONTRIBUTING.md.

BUILD ?= build
MESON_TEST = meson test --print-errorlogs
HOST_ONLY = -Dcubins=disabled -Dnvcc=disabled
.PHONY: help demo test sanitize clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s%s\n", $$1, $$2 }' Makefile

demo: ## one decode step of DeepSeek-V3's shape, checked, on the GPU or the CPU
	@sh .ci/setup demo $(BUILD)
	@ninja -C $(BUILD) --quiet run-demo

test: ## every test this machine can run; ends with "N passed, N failed, N skipped"
	@sh .ci/setup test $(BUILD) -Ddebug=false
	@rm -f $(BUILD)/meson-logs/testlog*
	@$(MESON_TEST) -C $(BUILD); status=$$?; \
	  $$(sh .ci/setup python) tests/count.py $(BUILD) && exit $$status

sanitize: ## the host tests under ASan and UBSan, then under TSan
	@sh .ci/setup test $(BUILD)-asan -Db_sanitize=address,undefined $(HOST_ONLY)
	@UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(MESON_TEST) -C $(BUILD)-asan --suite unit
	@sh .ci/setup test $(BUILD)-tsan -Db_sanitize=thread $(HOST_ONLY)
	@$(MESON_TEST) -C $(BUILD)-tsan --suite unit

clean: ## remove what these commands made
	@rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan
