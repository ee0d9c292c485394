/*
** tls_explain.c - what a failed handshake means in plain words.
**
** The verdict on the certificate comes first; without one the library's reason tells whether the peer speaks TLS at all
** and whether it was the peer that refused. Threads: any.
*/
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <string.h>

#include "net/tls_impl.h"

_Static_assert(DSC_TLS_WRONG_NAME == X509_V_ERR_HOSTNAME_MISMATCH, "tls.h tells OpenSSL's number");
_Static_assert(DSC_TLS_WRONG_ADDRESS == X509_V_ERR_IP_ADDRESS_MISMATCH, "tls.h tells OpenSSL's number");

const char *dsc_tls_take_reason(void) {
  unsigned long code = ERR_peek_error();
  const char *reason = code ? ERR_reason_error_string(code) : NULL;
  ERR_clear_error();
  return reason;
}

static const char *judge_certificate(long verify_result) {
  switch (verify_result) {
  case X509_V_OK: return NULL;
  case X509_V_ERR_CERT_HAS_EXPIRED: return "has expired";
  case X509_V_ERR_CERT_NOT_YET_VALID: return "is not valid yet";
  case X509_V_ERR_HOSTNAME_MISMATCH: return "was issued for another name";
  case X509_V_ERR_IP_ADDRESS_MISMATCH: return "was not issued for this address (server_name names another one)";
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT: return "is self-signed";
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
  case X509_V_ERR_CERT_UNTRUSTED: return "is signed by an unknown authority";
  case X509_V_ERR_CERT_REVOKED: return "was revoked";
  default: return X509_verify_cert_error_string(verify_result);
  }
}

static bool says(const char *reason, const char *part) {
  return strcasestr(reason, part) != NULL;
}

/* These are what OpenSSL makes of bytes that are no TLS record. */
static bool is_plain(const char *reason) {
  return says(reason, "wrong version number") || says(reason, "packet length too long") ||
         says(reason, "http request") || says(reason, "unknown protocol") || says(reason, "record layer failure");
}

void dsc_tls_explain(dsc_why *why, const char *addr, long verify_result, const char *reason) {
  const char *verdict = judge_certificate(verify_result);
  if (verdict)
    dsc_fail(why, DSC_ETLS, "the certificate of %s %s", addr, verdict);
  else if (!reason || !*reason || says(reason, "unexpected eof"))
    dsc_fail(why, DSC_ETLS, "%s ended the TLS handshake without a word", addr);
  else if (is_plain(reason))
    dsc_fail(why, DSC_ETLS, "%s does not speak TLS on this port", addr);
  else if (says(reason, "certificate required") || says(reason, "bad certificate"))
    dsc_fail(why, DSC_ETLS, "%s refused the TLS handshake: it wants a client certificate that it knows (%s)", addr,
             reason);
  else if (says(reason, "unknown ca"))
    dsc_fail(why, DSC_ETLS, "%s refused the TLS handshake: it does not know who signed the client certificate (%s)",
             addr, reason);
  else if (says(reason, "handshake failure"))
    dsc_fail(why, DSC_ETLS, "%s refused the TLS handshake: no common cipher, or it wants a client certificate (%s)",
             addr, reason);
  else if (says(reason, "protocol version") || says(reason, "unsupported protocol"))
    dsc_fail(why, DSC_ETLS, "%s refused the TLS handshake: no common version, 1.2 at least is spoken (%s)", addr,
             reason);
  else if (says(reason, "alert"))
    dsc_fail(why, DSC_ETLS, "%s refused the TLS handshake (%s)", addr, reason);
  else
    dsc_fail(why, DSC_ETLS, "TLS with %s failed: %s", addr, reason);
}
