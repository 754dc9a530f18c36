// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The disk cache of compiled kernels: <folder>/<variant>-<16 hex digits>.cubin. An entry is written
// under another name and renamed, so that a reader sees all of it or none; there is no lock, and
// processes that start together may each compile. No fault of the cache is a failure: it is a line
// of the log, and the kernel is compiled.

enum {
  LATHEP_CACHE_FORMAT = 1,
  LATHEP_CACHE_HEADER = 64, // bytes
  LATHEP_FILE_MAX = 1 << 28 // bytes of a file that is taken for an entry
};

// What a kernel is compiled to, or was read from the cache.
typedef struct lathep_image {
  char *data; // with a zero behind it, which PTX needs
  size_t size;
  int ptx; // for the driver to finish; else a cubin
} lathep_image;

LATHEP_FN void lathep_image_free(const lathe_allocator *allocator, lathep_image *image) {
  lathep_free(allocator, image->data);
  memset(image, 0, sizeof *image);
}

// Everything that decides about the bytes of the result: sources include nothing.
LATHEP_FN lathep_hash lathep_cache_key(const char *source, const char *const *options,
                                       int num_options, int arch, int nvrtc_major,
                                       int nvrtc_minor) {
  lathep_hash hash = lathep_hash_start();
  int i;
  lathep_hash_number(&hash, LATHEP_CACHE_FORMAT);
  lathep_hash_text(&hash, source);
  lathep_hash_number(&hash, (uint64_t)num_options);
  for (i = 0; i < num_options; i++)
    lathep_hash_text(&hash, options[i]);
  lathep_hash_number(&hash, (uint64_t)arch);
  lathep_hash_number(&hash, (uint64_t)nvrtc_major);
  lathep_hash_number(&hash, (uint64_t)nvrtc_minor);
  return lathep_hash_end(hash);
}

// ----------------------------------------------------------------------------------------- folder

// Where entries go, decided once per context. *folder stays null if nothing names a place.
LATHEP_FN int lathep_cache_folder(const lathe_allocator *allocator, const char *wanted,
                                  char **folder) {
  char path[LATHEP_PATH_MAX];
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (wanted)
    return lathep_copy_text(allocator, wanted, folder);
  if (base && base[0] == '/') // the XDG specification: relative paths are to be ignored
    lathep_print(path, sizeof path, "%s/lathe", base);
  else if (home && home[0] == '/')
    lathep_print(path, sizeof path, "%s/.cache/lathe", home);
  else
    return 0;
  return lathep_copy_text(allocator, path, folder);
}

// mkdir -p. 0 or an errno.
LATHEP_FN int lathep_make_folder(const char *path) {
  char part[LATHEP_PATH_MAX];
  size_t length = lathep_print(part, sizeof part, "%s", path), i;
  if (length >= sizeof part)
    return ENAMETOOLONG;
  for (i = 1; i <= length; i++)
    if (i == length || part[i] == '/') {
      part[i] = '\0';
      // what exists may answer EROFS or EACCES rather than EEXIST
      if (mkdir(part, 0700) && errno != EEXIST && access(part, F_OK))
        return errno;
      part[i] = path[i];
    }
  return 0;
}

// All of a file, with a zero behind it, to be freed by the caller; null, and errno, if it cannot be
// read.
LATHEP_FN char *lathep_file_read(const lathe_allocator *allocator, const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  char *bytes = NULL;
  long length = -1;
  int code = 0;
  *size = 0;
  if (!file)
    return NULL;
  if (fseek(file, 0, SEEK_END) || (length = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
    code = errno;
  else if (length < LATHEP_FILE_MAX) // a folder opened as a file ends at LONG_MAX
    bytes = (char *)lathep_alloc(allocator, (size_t)length + 1);
  if (!code && !bytes)
    code = ENOMEM;
  if (!code && fread(bytes, 1, (size_t)length, file) != (size_t)length)
    code = EIO;
  fclose(file);
  if (code) {
    lathep_free(allocator, bytes);
    errno = code;
    return NULL;
  }
  *size = (size_t)length;
  return bytes;
}

// Writes a file under a name of its own, then gives it its real one. 0 or an errno.
LATHEP_FN int lathep_file_write(const char *path, const void *head, size_t head_size,
                                const void *data, size_t size) {
  static unsigned serial; // of this process
  char temporary[LATHEP_PATH_MAX];
  struct timespec now;
  FILE *file;
  int code = 0;
  timespec_get(&now, TIME_UTC); // process ids repeat across containers that share a folder
  if (lathep_print(temporary, sizeof temporary, "%s.%ld.%u.%lx.tmp", path, (long)getpid(),
                   __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED),
                   (unsigned long)now.tv_nsec) >= sizeof temporary)
    return ENAMETOOLONG;
  file = fopen(temporary, "wbx"); // never one that is there
  if (!file)
    return errno;
  errno = 0;
  if (fwrite(head, 1, head_size, file) != head_size || fwrite(data, 1, size, file) != size)
    code = errno ? errno : EIO;
  if (fclose(file) && !code)
    code = errno;
  if (!code && rename(temporary, path))
    code = errno;
  if (code)
    unlink(temporary);
  return code;
}

// ---------------------------------------------------------------------------------------- entries

// Header of an entry, numbers in little-endian order: magic, format, 1 if PTX, bytes of the
// payload, its hash, the key, zeros up to 64 bytes.
static const char lathep_cache_magic[8] = {'L', 'A', 'T', 'H', 'E', 'B', 'I', 'N'};

LATHEP_FN void lathep_put_number(unsigned char *bytes, int size, uint64_t number) {
  int i;
  for (i = 0; i < size; i++)
    bytes[i] = (unsigned char)(number >> (8 * i));
}

LATHEP_FN uint64_t lathep_get_number(const unsigned char *bytes, int size) {
  uint64_t number = 0;
  int i;
  for (i = 0; i < size; i++)
    number |= (uint64_t)bytes[i] << (8 * i);
  return number;
}

LATHEP_FN void lathep_cache_header(unsigned char *header, lathep_hash key,
                                   const lathep_image *image) {
  lathep_hash payload = lathep_hash_start();
  lathep_hash_bytes(&payload, image->data, image->size);
  payload = lathep_hash_end(payload);
  memset(header, 0, LATHEP_CACHE_HEADER);
  memcpy(header, lathep_cache_magic, sizeof lathep_cache_magic);
  lathep_put_number(header + 8, 4, LATHEP_CACHE_FORMAT);
  lathep_put_number(header + 12, 4, image->ptx != 0);
  lathep_put_number(header + 16, 8, image->size);
  lathep_put_number(header + 24, 8, payload.a);
  lathep_put_number(header + 32, 8, payload.b);
  lathep_put_number(header + 40, 8, key.a);
  lathep_put_number(header + 48, 8, key.b);
}

// Why `bytes` is not the entry of `key`; null if it is.
LATHEP_FN const char *lathep_cache_refuse(const char *bytes, size_t size, lathep_hash key) {
  unsigned char expected[LATHEP_CACHE_HEADER];
  const unsigned char *header = (const unsigned char *)bytes;
  lathep_image image;
  if (size <= LATHEP_CACHE_HEADER)
    return "it is cut short";
  if (memcmp(bytes, lathep_cache_magic, sizeof lathep_cache_magic))
    return "it is no cache entry";
  if (lathep_get_number(header + 8, 4) != LATHEP_CACHE_FORMAT)
    return "it has another format";
  if (lathep_get_number(header + 16, 8) != size - LATHEP_CACHE_HEADER)
    return "it is cut short or too long";
  image.data = (char *)(uintptr_t)(bytes + LATHEP_CACHE_HEADER);
  image.size = size - LATHEP_CACHE_HEADER;
  image.ptx = lathep_get_number(header + 12, 4) != 0;
  lathep_cache_header(expected, key, &image);
  if (memcmp(header + 40, expected + 40, 16))
    return "it was made from another source, with other options or by another NVRTC";
  if (memcmp(header, expected, LATHEP_CACHE_HEADER))
    return "its bytes are not those that were written";
  return NULL;
}

// 0 if there is no cache or the path is too long.
LATHEP_FN int lathep_cache_path(const lathe_context *context, const char *variant, lathep_hash key,
                                char *path, size_t size) {
  return context->cache_dir && lathep_print(path, size, "%s/%s-%016llx.cubin", context->cache_dir,
                                            variant, (unsigned long long)key.a) < size;
}

// 1: *image is filled, to be freed by the caller.
LATHEP_FN int lathep_cache_load(const lathe_context *context, const char *variant, lathep_hash key,
                                lathep_image *image) {
  char path[LATHEP_PATH_MAX], *bytes;
  const char *why;
  size_t size;
  memset(image, 0, sizeof *image);
  if (!lathep_cache_path(context, variant, key, path, sizeof path))
    return 0;
  bytes = lathep_file_read(&context->allocator, path, &size);
  if (!bytes) {
    lathep_log(context, LATHEP_TOPIC_CACHE, "not read: %s: %s", path, strerror(errno));
    return 0;
  }
  why = lathep_cache_refuse(bytes, size, key);
  if (why) {
    lathep_log(context, LATHEP_TOPIC_CACHE, "passed over: %s: %s", path, why);
    lathep_free(&context->allocator, bytes);
    return 0;
  }
  image->ptx = lathep_get_number((const unsigned char *)bytes + 12, 4) != 0;
  image->size = size - LATHEP_CACHE_HEADER;
  image->data = bytes;
  memmove(bytes, bytes + LATHEP_CACHE_HEADER, image->size); // to where malloc has aligned it
  bytes[image->size] = '\0';
  lathep_log(context, LATHEP_TOPIC_CACHE, "read: %s: %zu bytes", path, image->size);
  return 1;
}

LATHEP_FN void lathep_cache_store(const lathe_context *context, const char *variant,
                                  lathep_hash key, const lathep_image *image) {
  unsigned char header[LATHEP_CACHE_HEADER];
  char path[LATHEP_PATH_MAX];
  int code;
  if (!lathep_cache_path(context, variant, key, path, sizeof path))
    return;
  lathep_cache_header(header, key, image);
  code = lathep_make_folder(context->cache_dir);
  if (!code)
    code = lathep_file_write(path, header, sizeof header, image->data, image->size);
  if (code)
    lathep_log(context, LATHEP_TOPIC_CACHE, "not written: %s: %s", path, strerror(code));
  else
    lathep_log(context, LATHEP_TOPIC_CACHE, "written: %s: %zu bytes", path, image->size);
}
