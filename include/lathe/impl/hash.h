// SPDX-FileCopyrightText: 2026 The Lathe authors
// SPDX-License-Identifier: MIT
// The hash of the disk cache: 128 bits in two lanes that share nothing, a byte at a time, so the
// same on every machine. It guards against accidents, not against an enemy. A golden test fixes it:
// another hash is another cache format.

typedef struct lathep_hash {
  uint64_t a, b;
} lathep_hash;

LATHEP_FN lathep_hash lathep_hash_start(void) {
  lathep_hash hash;
  hash.a = 0xcbf29ce484222325u;
  hash.b = 0x9e3779b97f4a7c15u;
  return hash;
}

LATHEP_FN void lathep_hash_bytes(lathep_hash *hash, const void *data, size_t size) {
  const unsigned char *bytes = (const unsigned char *)data;
  uint64_t a = hash->a, b = hash->b;
  size_t i;
  for (i = 0; i < size; i++) {
    a = (a ^ bytes[i]) * 0x100000001b3u; // FNV-1a
    b = ((b << 23 | b >> 41) + bytes[i] + 1) * 0xff51afd7ed558ccdu;
  }
  hash->a = a;
  hash->b = b;
}

LATHEP_FN void lathep_hash_number(lathep_hash *hash, uint64_t number) {
  unsigned char bytes[8];
  int i;
  for (i = 0; i < 8; i++)
    bytes[i] = (unsigned char)(number >> (8 * i));
  lathep_hash_bytes(hash, bytes, sizeof bytes);
}

// With its length, so that no two lists of texts run into the same bytes.
LATHEP_FN void lathep_hash_text(lathep_hash *hash, const char *text) {
  size_t length = strlen(text);
  lathep_hash_number(hash, length);
  lathep_hash_bytes(hash, text, length);
}

// Spreads every bit over all 64 (the end of splitmix64).
LATHEP_FN uint64_t lathep_hash_mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

LATHEP_FN lathep_hash lathep_hash_end(lathep_hash hash) {
  lathep_hash mixed;
  mixed.a = lathep_hash_mix(hash.a ^ lathep_hash_mix(hash.b));
  mixed.b = lathep_hash_mix(hash.b + mixed.a);
  return mixed;
}
