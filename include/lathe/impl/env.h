// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The environment: THE table of variables, from which come the parsing, the message for a value
// that is none, and docs/environment.md. Read once, when a context is made.

// variable, values, default, meaning
#define LATHEP_ENVIRONMENT(X)                                                                      \
  X(LATHE_BACKEND, "auto, cuda or cpu", "auto",                                                    \
    "where contexts compute whose desc does not say; auto: on the GPU if one is usable, else on "  \
    "the CPU")                                                                                     \
  X(LATHE_JIT, "0 or 1", "1",                                                                      \
    "0: kernels are not compiled at run time; a plan whose kernel is in no table and no cache "    \
    "fails, naming the row to add to codegen/variants.toml")                                       \
  X(LATHE_CACHE, "0 or 1", "1", "0: compiled kernels are neither read from nor written to disk")   \
  X(LATHE_CACHE_DIR, "a path", "$XDG_CACHE_HOME/lathe, else $HOME/.cache/lathe",                   \
    "folder of the disk cache; it is made when needed")                                            \
  X(LATHE_DUMP_DIR, "a path", "none",                                                              \
    "folder that receives source, options, log and result of every compilation")                   \
  X(LATHE_NVRTC_LIB, "a path", "libnvrtc.so.N, by the driver's version",                           \
    "the NVRTC library to open, and no other")                                                     \
  X(LATHE_LOG, "all, or some of dispatch, jit, cache, launch, context with commas between",        \
    "none; all if the desc has a logger",                                                          \
    "what is logged, to the logger of the desc, else to stderr")                                   \
  X(LATHE_KERNEL, "sm80, sm90, sm90a, or a name from docs/variants.md", "the fastest",             \
    "the attention kernel of plans on a GPU, by its policy, its family or its full name; a plan "  \
    "that it does not compute is refused")                                                         \
  X(LATHE_DISABLE,                                                                                 \
    "some of sm80, sm90, sm90a and families of docs/variants.md, with commas between", "none",     \
    "kernels that no plan on a GPU gets: the attention kernels of a policy, or a family; a plan "  \
    "gets the next best that computes it, and is refused if there is none")                        \
  X(LATHE_CHECK, "0 or 1", "0",                                                                    \
    "1: every run and every schedule first checks what steers it on the device (lengths, block "   \
    "tables, lists, positions, slots, scales), and waits for that")

typedef struct lathep_env {
  lathe_backend backend;
  int jit, cache, check;
  int log_set; // LATHE_LOG is there
  unsigned topics;
  char *cache_dir, *dump_dir, *nvrtc_lib, *kernel, *disabled; // null: not there
} lathep_env;

// One parser for each variable; what it returns is looked at by lathep_env_read alone.
typedef enum lathep_parsed {
  LATHEP_PARSED,
  LATHEP_PARSED_NOT,
  LATHEP_PARSED_NO_MEMORY
} lathep_parsed;

LATHEP_FN lathep_parsed lathep_parse_switch(const char *value, int *on) {
  if (strcmp(value, "0") && strcmp(value, "1"))
    return LATHEP_PARSED_NOT;
  *on = value[0] == '1';
  return LATHEP_PARSED;
}

// Or any other text to keep.
LATHEP_FN lathep_parsed lathep_parse_path(const char *value, const lathe_allocator *allocator,
                                          char **path) {
  return lathep_copy_text(allocator, value, path) ? LATHEP_PARSED_NO_MEMORY : LATHEP_PARSED;
}

#define LATHEP_ENV_PARSER(name)                                                                    \
  LATHEP_FN lathep_parsed lathep_parse_##name(                                                     \
      lathep_env *env, __attribute__((unused)) const lathe_allocator *allocator,                   \
      const char *value)

LATHEP_ENV_PARSER(LATHE_BACKEND) {
  if (!strcmp(value, "auto"))
    env->backend = LATHE_BACKEND_AUTO;
  else if (!strcmp(value, "cuda"))
    env->backend = LATHE_BACKEND_CUDA;
  else if (!strcmp(value, "cpu"))
    env->backend = LATHE_BACKEND_CPU;
  else
    return LATHEP_PARSED_NOT;
  return LATHEP_PARSED;
}

LATHEP_ENV_PARSER(LATHE_JIT) {
  return lathep_parse_switch(value, &env->jit);
}
LATHEP_ENV_PARSER(LATHE_CACHE) {
  return lathep_parse_switch(value, &env->cache);
}
LATHEP_ENV_PARSER(LATHE_CHECK) {
  return lathep_parse_switch(value, &env->check);
}
LATHEP_ENV_PARSER(LATHE_CACHE_DIR) {
  return lathep_parse_path(value, allocator, &env->cache_dir);
}
LATHEP_ENV_PARSER(LATHE_DUMP_DIR) {
  return lathep_parse_path(value, allocator, &env->dump_dir);
}
LATHEP_ENV_PARSER(LATHE_NVRTC_LIB) {
  return lathep_parse_path(value, allocator, &env->nvrtc_lib);
}

LATHEP_FN int lathep_is_policy(const char *word, size_t length) {
  size_t i;
  for (i = 0; i < sizeof lathep_arch_words / sizeof lathep_arch_words[0]; i++)
    if (strlen(lathep_arch_words[i]) == length && !strncmp(word, lathep_arch_words[i], length))
      return 1;
  return 0;
}

// A policy's word, or "decode_", the word, "_" and more.
LATHEP_ENV_PARSER(LATHE_KERNEL) {
  const size_t prefix = strlen("decode_");
  const char *word = strncmp(value, "decode_", prefix) ? value : value + prefix;
  const char *end = strchr(word, '_');
  const size_t length = word == value ? strlen(word) : end ? (size_t)(end - word) : 0;
  return lathep_is_policy(word, length) ? lathep_parse_path(value, allocator, &env->kernel)
                                        : LATHEP_PARSED_NOT;
}

LATHEP_ENV_PARSER(LATHE_DISABLE) {
  const char *word = value;
  for (;;) {
    const size_t length = strcspn(word, ",");
    char family[64];
    lathep_print(family, sizeof family, "%.*s", length < 64 ? (int)length : 0, word);
    if (!lathep_is_policy(word, length) && !lathep_family_find(family))
      return LATHEP_PARSED_NOT;
    if (!word[length])
      return lathep_parse_path(value, allocator, &env->disabled);
    word += length + 1;
  }
}

LATHEP_ENV_PARSER(LATHE_LOG) {
  unsigned topics = 0;
  for (;;) {
    size_t length = strcspn(value, ",");
    int topic = 0;
    while (topic < LATHEP_NUM_TOPICS && (strlen(lathep_topic_names[topic]) != length ||
                                         strncmp(value, lathep_topic_names[topic], length)))
      topic++;
    if (topic < LATHEP_NUM_TOPICS)
      topics |= 1u << topic;
    else if (length == 3 && !strncmp(value, "all", 3))
      topics = LATHEP_ALL_TOPICS;
    else
      return LATHEP_PARSED_NOT;
    if (!value[length])
      break;
    value += length + 1;
  }
  env->topics = topics;
  env->log_set = 1;
  return LATHEP_PARSED;
}
#undef LATHEP_ENV_PARSER

LATHEP_FN void lathep_env_free(lathep_env *env, const lathe_allocator *allocator) {
  lathep_free(allocator, env->cache_dir);
  lathep_free(allocator, env->dump_dir);
  lathep_free(allocator, env->nvrtc_lib);
  lathep_free(allocator, env->kernel);
  lathep_free(allocator, env->disabled);
}

// Fills *env, which is zero. What is there must be freed after a failure too. An empty value is the
// default, as an unset variable is.
LATHEP_FN lathe_status lathep_env_read(lathep_env *env, const lathe_allocator *allocator) {
  const char *value;
  env->jit = env->cache = 1;
#define LATHEP_ENV_READ(name, values, fallback, help)                                              \
  value = getenv(#name);                                                                           \
  if (value && *value)                                                                             \
    switch (lathep_parse_##name(env, allocator, value)) {                                          \
    case LATHEP_PARSED:                                                                            \
      break;                                                                                       \
    case LATHEP_PARSED_NOT:                                                                        \
      return lathep_fail(LATHE_STATUS_INVALID_ENVIRONMENT,                                         \
                         "the environment variable " #name " is \"%s\"; give " values              \
                         " (default: " fallback ")",                                               \
                         value);                                                                   \
    case LATHEP_PARSED_NO_MEMORY:                                                                  \
      return lathep_fail(LATHE_STATUS_OUT_OF_MEMORY,                                               \
                         "lathe_allocator.alloc returned null for the %zu bytes of " #name         \
                         "; give it memory or leave it unset for malloc",                          \
                         strlen(value) + 1);                                                       \
    }
  LATHEP_ENVIRONMENT(LATHEP_ENV_READ)
#undef LATHEP_ENV_READ
  return LATHE_STATUS_OK;
}
