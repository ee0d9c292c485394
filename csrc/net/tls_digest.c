/*
** tls_digest.c - what else of OpenSSL is wanted: SHA-1 and base64, for the WebSocket handshake. Threads: any.
*/
#include <openssl/evp.h>

#include "net/tls_impl.h"

bool dsc_tls_sha1(uint8_t digest[20], dsc_str text) {
  dsc_tls_prepare();
  return EVP_Digest(text.p, text.n, digest, NULL, EVP_sha1(), NULL) == 1;
}

void dsc_tls_base64(char *text, const uint8_t *bytes, size_t n) {
  EVP_EncodeBlock((unsigned char *)text, bytes, (int)n);
}
