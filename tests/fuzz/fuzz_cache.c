// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// Cache files that were cut, lengthened, overwritten in places or never a cache file at all: a read
// gives the image that was stored or none, and the file written over a bad one is good again.
#define FUZZ_COUNT 2000
#include "fuzz.h"

#include <unistd.h>

static const char image_text[] = "not really a cubin, but as many bytes as a header and some more: "
                                 "0123456789abcdefghijklmnopqrstuvwxyz";

static char folder[64], path[LATHEP_PATH_MAX];

static void clean(void) {
  unlink(path);
  rmdir(folder);
}

static void write_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  fuzz_expect(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, path);
}

/* The stored file with a few bytes changed, another end, or bytes of the input throughout. */
static size_t spoil(fuzz_input *input, const uint8_t *good, size_t good_size, uint8_t *bad) {
  uint32_t kind = fuzz_byte(input);
  size_t size = good_size, at;
  memcpy(bad, good, good_size);
  if (kind & 1)
    for (uint32_t n = fuzz_byte(input) % 4; n > 0; n--) {
      at = fuzz_byte(input) % size;
      bad[at] = (uint8_t)fuzz_byte(input);
    }
  if (kind & 2)
    size = fuzz_byte(input) % (good_size + 1);
  if (kind & 4)
    while (input->size > 0 && size < good_size + 64)
      bad[size++] = (uint8_t)fuzz_byte(input);
  if (kind & 8)
    for (size = 0; input->size > 0 && size < good_size + 64; size++)
      bad[size] = (uint8_t)fuzz_byte(input);
  return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lathe_context *context;
  static uint8_t good[512];
  static size_t good_size;
  fuzz_input input = {data, size};
  uint8_t bad[1024];
  size_t bad_size;
  lathep_image image;
  lathep_hash key;
  memset(&key, 0, sizeof key);
  key.a = 0x1234, key.b = 0x5678;
  image.data = (char *)(uintptr_t)image_text;
  image.size = sizeof image_text - 1;
  image.ptx = 0;
  if (!context) {
    lathe_context_desc desc;
    FILE *file;
    memset(&desc, 0, sizeof desc);
    snprintf(folder, sizeof folder, "/tmp/lathe-fuzz-%ld", (long)getpid());
    desc.backend = LATHE_BACKEND_CPU;
    desc.cache = LATHE_SWITCH_ON;
    desc.cache_dir = folder;
    fuzz_expect(lathe_context_create(&desc, &context) == LATHE_STATUS_OK, "no context");
    lathep_cache_store(context, "decode", key, &image);
    atexit(clean);
    fuzz_expect(lathep_cache_path(context, "decode", key, path, sizeof path), "no path");
    file = fopen(path, "rb");
    fuzz_expect(file != NULL, "nothing was stored");
    good_size = fread(good, 1, sizeof good, file);
    fclose(file);
    fuzz_expect(good_size > sizeof image_text && good_size < sizeof good, "an odd file");
  }
  bad_size = spoil(&input, good, good_size, bad);
  write_file(path, bad, bad_size);
  int same = bad_size == good_size && memcmp(bad, good, good_size) == 0;
  if (lathep_cache_load(context, "decode", key, &image)) {
    /* which kind of image it is is the header's word alone */
    fuzz_expect(image.size == sizeof image_text - 1 &&
                    memcmp(image.data, image_text, image.size) == 0,
                "a spoilt image was taken");
    lathep_image_free(&context->allocator, &image);
  } else {
    fuzz_expect(!same, "a good image was refused");
    image.data = (char *)(uintptr_t)image_text;
    image.size = sizeof image_text - 1;
    image.ptx = 0;
    lathep_cache_store(context, "decode", key, &image);
    fuzz_expect(lathep_cache_load(context, "decode", key, &image), "a stored image is refused");
    lathep_image_free(&context->allocator, &image);
  }
  return 0;
}
