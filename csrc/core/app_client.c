/*
** app_client.c - the visible state of one call. Owner's thread; see app_client.h.
*/
#include "core/app_client.h"

#include "base/addr.h"
#include "base/mem.h"
#include "core/app_client_impl.h"

#define PATH_MAX_BYTES (64 * 1024 - 1)

void dsc_app_client_init(dsc_app_client *ac) {
  *ac = (dsc_app_client){0};
  ac->tried = ac->few;
  ac->tried_cap = sizeof ac->few / sizeof *ac->few;
  dsc_headers_init(&ac->headers);
}

static void text_clear(dsc_text *text) {
  dsc_mem_free(text->own);
  *text = (dsc_text){0};
}

void dsc_app_client_fini(dsc_app_client *ac) {
  text_clear(&ac->app);
  text_clear(&ac->method);
  text_clear(&ac->path);
  text_clear(&ac->body);
  dsc_headers_clear(&ac->headers);
  for (size_t i = 0; i < ac->n_tried; i++) dsc_node_unref(ac->tried[i]);
  if (ac->tried != ac->few) dsc_mem_free(ac->tried);
  ac->tried = ac->few;
  ac->tried_cap = sizeof ac->few / sizeof *ac->few;
  ac->n_tried = 0;
}

static dsc_err text_set(dsc_text *text, dsc_str s, dsc_why *why) {
  char *own = dsc_mem_strdup(s);
  if (!own) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_mem_free(text->own);
  *text = (dsc_text){.s = {own, s.n}, .own = own};
  return DSC_OK;
}

dsc_err dsc_app_client_set_app(dsc_app_client *ac, dsc_str app, dsc_why *why) {
  dsc_err err = dsc_addr_check_app(app, why);
  return err ? err : text_set(&ac->app, app, why);
}

dsc_err dsc_app_client_set_method(dsc_app_client *ac, dsc_str method, dsc_why *why) {
  dsc_why inner;
  if (method.n > 32 || dsc_headers_check_name(method, &inner) != DSC_OK)
    return dsc_fail(why, DSC_EINVALID, "method: \"%.*s\" is no HTTP method (a token of 1 to 32 bytes)",
                    method.n < 40 ? (int)method.n : 40, method.n ? method.p : "");
  return text_set(&ac->method, method, why);
}

dsc_err dsc_app_client_set_path(dsc_app_client *ac, dsc_str path, dsc_why *why) {
  if (path.n == 0 || path.p[0] != '/') return dsc_fail(why, DSC_EINVALID, "path: must begin with \"/\"");
  if (path.n > PATH_MAX_BYTES)
    return dsc_fail(why, DSC_EINVALID, "path: %zu bytes, at most %d are allowed", path.n, PATH_MAX_BYTES);
  for (size_t i = 0; i < path.n; i++) {
    unsigned char c = (unsigned char)path.p[i];
    if (c <= 0x20 || c == 0x7f || c == '#')
      return dsc_fail(why, DSC_EINVALID, "path: byte 0x%02x at position %zu must be percent-encoded", c, i + 1);
  }
  return text_set(&ac->path, path, why);
}

dsc_err dsc_app_client_set_body(dsc_app_client *ac, dsc_str body, bool has_body, dsc_why *why) {
  if (!has_body) {
    text_clear(&ac->body);
    ac->has_body = false;
    ac->source = NULL;
    return DSC_OK;
  }
  dsc_err err = text_set(&ac->body, body, why);
  if (err) return err;
  ac->has_body = true;
  ac->source = NULL;
  return DSC_OK;
}

dsc_err dsc_app_client_set_headers(dsc_app_client *ac, const dsc_headers *headers, dsc_why *why) {
  dsc_headers copy;
  dsc_headers_init(&copy);
  for (size_t i = 0; headers && i < headers->count; i++) {
    const dsc_header *h = &headers->items[i];
    dsc_err err = dsc_headers_check_name(h->name, why);
    if (err == DSC_OK) err = dsc_headers_check_value(h->name, h->value, why);
    if (err == DSC_OK && (err = dsc_headers_add(&copy, h->name, h->value)) != DSC_OK)
      dsc_fail(why, err, "%s", dsc_err_text(err));
    if (err != DSC_OK) {
      dsc_headers_clear(&copy);
      return err;
    }
  }
  dsc_headers_clear(&ac->headers);
  ac->headers = copy;
  return DSC_OK;
}

dsc_err dsc_app_client_add_tried(dsc_app_client *ac, dsc_node *node) {
  if (ac->n_tried == ac->tried_cap) {
    size_t cap = ac->tried_cap * 2;
    bool few = ac->tried == ac->few;
    dsc_node **grown = dsc_mem_realloc(few ? NULL : ac->tried, cap * sizeof(dsc_node *));
    if (!grown) return DSC_ENOMEM;
    if (few) memcpy(grown, ac->few, sizeof ac->few);
    ac->tried = grown;
    ac->tried_cap = cap;
  }
  ac->tried[ac->n_tried++] = dsc_node_ref(node);
  ac->attempts++;
  return DSC_OK;
}
