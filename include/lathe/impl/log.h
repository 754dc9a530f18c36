// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The log: one line a call, to the context's logger, under topics that LATHE_LOG selects. context.h
// has lathep_log.

#define LATHEP_TOPICS(X)                                                                           \
  X(DISPATCH, "dispatch") /* kernels considered, and why each was passed over */                   \
  X(JIT, "jit")           /* compilations */                                                       \
  X(CACHE, "cache")       /* the disk cache */                                                     \
  X(LAUNCH, "launch")     /* every launch */                                                       \
  X(CONTEXT, "context")   /* versions, device, libraries */

#define LATHEP_TOPIC_ENUM(name, text) LATHEP_TOPIC_##name,
#define LATHEP_TOPIC_TEXT(name, text) text,
typedef enum lathep_topic { LATHEP_TOPICS(LATHEP_TOPIC_ENUM) LATHEP_NUM_TOPICS } lathep_topic;
static const char *const lathep_topic_names[] = {LATHEP_TOPICS(LATHEP_TOPIC_TEXT)};
#undef LATHEP_TOPIC_ENUM
#undef LATHEP_TOPIC_TEXT

enum {
  LATHEP_ALL_TOPICS = (1 << LATHEP_NUM_TOPICS) - 1,
  LATHEP_LOG_MAX = 1024 // bytes of a line; longer ones are cut
};

LATHE_API void lathe_log_stderr(const char *topic, const char *message, void *user_data) {
  (void)user_data;
  fprintf(stderr, "lathe: %s: %s\n", topic, message); // one call: lines of threads do not mix
}

typedef struct lathep_log_sink {
  lathe_logger logger;
  unsigned topics; // bit 1 << lathep_topic: goes to the logger
} lathep_log_sink;
