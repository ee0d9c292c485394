/*
** discoverer_apps.c - which apps a discoverer knows, how their calls are configured, and how far the registry is
** with them.
**
** Apps that the user configured have an entry with their table; others are looked up in the registry's bounded
** directory each time, so that names brought in by requests leave nothing behind here.
*/
#include "base/mem.h"
#include "core/discoverer_impl.h"

static dsc_err no_memory(dsc_why *why) {
  return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
}

dsc_table *dsc_discoverer_find_table(dsc_discoverer *d, dsc_str app) {
  dsc_app_entry *entry = dsc_map_get(&d->apps, app);
  if (entry && entry->table) return dsc_table_ref(entry->table);
  return dsc_directory_find(dsc_registry_directory(d->registry), app);
}

dsc_call_config *dsc_discoverer_find_config(dsc_discoverer *d, dsc_str app, dsc_tls **tls) {
  dsc_app_entry *entry = dsc_map_get(&d->apps, app);
  bool own = entry && entry->config;
  if (tls) *tls = dsc_tls_ref(own ? entry->tls : d->default_tls);
  if (own) return dsc_call_config_ref(entry->config);
  if (d->default_config) return dsc_call_config_ref(d->default_config);
  if (!d->base_config) {
    dsc_call_config defaults;
    dsc_call_config_defaults(&defaults);
    dsc_call_config_new(&d->base_config, &defaults, NULL);
  }
  return dsc_call_config_ref(d->base_config);
}

static dsc_app_entry *add_entry(dsc_discoverer *d, dsc_str app) {
  dsc_app_entry *entry = dsc_mem_zalloc(1, sizeof *entry);
  if (!entry) return NULL;
  entry->name = dsc_mem_strdup(app);
  if (entry->name && dsc_map_put(&d->apps, (dsc_str){entry->name, app.n}, entry, NULL) == DSC_OK) return entry;
  dsc_discoverer_free_entry(entry);
  return NULL;
}

void dsc_discoverer_free_entry(dsc_app_entry *entry) {
  dsc_table_unref(entry->table);
  dsc_call_config_unref(entry->config);
  dsc_tls_unref(entry->tls);
  dsc_mem_free(entry->name);
  dsc_mem_free(entry);
}

/* Makes what the config says of TLS: its files are read here, once, never while calls run. */
static dsc_err make_tls(dsc_tls **tls, dsc_str app, const dsc_call_config *config, dsc_why *why) {
  dsc_why reason = {{0}};
  *tls = NULL;
  dsc_err err = config->ssl ? dsc_tls_get(tls, &config->tls, &reason) : DSC_OK;
  return err ? dsc_fail(why, err, "calls['%.*s']: %s", DSC_STR_ARG(app), reason.text) : DSC_OK;
}

/* Takes the reference to `tls` over. */
static void set_config(dsc_discoverer *d, dsc_call_config **place, dsc_tls **tls_place, dsc_call_config *config,
                       dsc_tls *tls) {
  dsc_call_config_unref(*place);
  dsc_tls_unref(*tls_place);
  *place = dsc_call_config_ref(config);
  *tls_place = tls;
  dsc_discoverer_clear_picks(d);
}

/* Follows the app of an entry. Fails: an entry without a table is taken out again: nobody could wait for its app. */
static dsc_err follow_entry(dsc_discoverer *d, dsc_app_entry *entry, dsc_why *why) {
  dsc_table *table = NULL;
  dsc_str name = dsc_str_of(entry->name);
  dsc_err err = dsc_registry_follow(d->registry, name, true, entry->table != NULL, &table, why);
  if (err == DSC_OK) {
    dsc_table_unref(entry->table);
    entry->table = table;
  } else if (!entry->table) {
    dsc_map_take(&d->apps, name);
    dsc_discoverer_free_entry(entry);
  }
  return err;
}

/* Configures the calls to one app, known or not, with a config that differs from the one it has. */
static dsc_err configure_app(dsc_discoverer *d, dsc_str app, dsc_app_entry *entry, dsc_call_config *config,
                             dsc_why *why) {
  dsc_tls *tls;
  dsc_err err = make_tls(&tls, app, config, why);
  if (err) return err;
  if (!entry && !(entry = add_entry(d, app))) err = no_memory(why);
  if (!err) err = follow_entry(d, entry, why);
  if (!err) err = dsc_discoverer_set_probe(d, app, config, tls, why);
  if (err)
    dsc_tls_unref(tls);
  else
    set_config(d, &entry->config, &entry->tls, config, tls);
  return err;
}

static dsc_err configure_default(dsc_discoverer *d, dsc_call_config *config, dsc_why *why) {
  dsc_tls *tls;
  dsc_err err = make_tls(&tls, DSC_STR_LITERAL("*"), config, why);
  if (err) return err;
  err = dsc_discoverer_set_probe(d, DSC_STR_LITERAL("*"), config, tls, why);
  if (err)
    dsc_tls_unref(tls);
  else
    set_config(d, &d->default_config, &d->default_tls, config, tls);
  return err;
}

/* An equal config may name files that were renewed: they are looked at again. Returns DSC_OK with `*renewed` when they
** made another setting. */
static dsc_err renew_tls(dsc_discoverer *d, dsc_str app, dsc_call_config *config, dsc_tls **place, bool *renewed,
                         dsc_why *why) {
  dsc_tls *tls;
  dsc_err err = make_tls(&tls, app, config, why);
  if (err) return err;
  *renewed = tls != *place;
  dsc_tls_unref(*renewed ? *place : tls);
  *place = *renewed ? tls : *place;
  if (*renewed) dsc_discoverer_clear_picks(d);
  return *renewed ? dsc_discoverer_set_probe(d, app, config, tls, why) : DSC_OK;
}

dsc_err dsc_discoverer_configure(dsc_frame *frame, dsc_str app, dsc_call_config *config, bool *changed, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  bool for_all = dsc_str_equal(app, DSC_STR_LITERAL("*"));
  dsc_err err = for_all ? DSC_OK : dsc_addr_check_app(app, why);
  if (err) return err;
  dsc_app_entry *entry = for_all ? NULL : dsc_map_get(&d->apps, app);
  const dsc_call_config *old = for_all ? d->default_config : entry ? entry->config : NULL;
  bool differs = !old || !dsc_call_config_equal(old, config);
  if (!differs)
    err = renew_tls(d, app, config, for_all ? &d->default_tls : &entry->tls, &differs, why);
  else
    err = for_all ? configure_default(d, config, why) : configure_app(d, app, entry, config, why);
  if (changed) *changed = differs && !err;
  return err;
}

/* What a known table without nodes means, by how far the registry is. */
static dsc_err judge_state(dsc_app_state state, dsc_str app, const dsc_why *trouble, bool *waiting, dsc_why *why) {
  const char *text = trouble->text[0] ? trouble->text : "it was not reached yet";
  switch (state) {
  case DSC_APP_READ: return DSC_OK;
  case DSC_APP_PENDING: *waiting = true; break;
  default: break;
  }
  return dsc_fail(why, DSC_EREGISTRY, "app \"%.*s\" was never read from the registry: %s", DSC_STR_ARG(app), text);
}

dsc_err dsc_discoverer_look_up(dsc_discoverer *d, dsc_str app, dsc_table **table, bool *waiting, dsc_why *why) {
  *waiting = false;
  *table = dsc_discoverer_find_table(d, app);
  if (*table && dsc_table_count(*table, NULL) > 0) return DSC_OK;
  if (dsc_registry_get_kind(d->registry) == DSC_REGISTRY_NONE) {
    if (*table) return DSC_OK;
    return dsc_fail(why, DSC_EAPP_NOT_FOUND, "app \"%.*s\" is not known: there is no registry and no set_node named it",
                    DSC_STR_ARG(app));
  }
  dsc_why trouble = {{0}};
  dsc_app_state state = dsc_registry_app_state(d->registry, app, &trouble);
  if (state == DSC_APP_UNKNOWN) {
    dsc_table *followed = NULL;
    dsc_err err = dsc_registry_follow(d->registry, app, false, false, &followed, why);
    if (err) return err;
    dsc_table_unref(*table);
    *table = followed;
    state = dsc_registry_app_state(d->registry, app, &trouble);
  }
  return judge_state(state, app, &trouble, waiting, why);
}

typedef struct await_app {
  dsc_discoverer *d;
  dsc_str app;
  dsc_app_state state;
} await_app;

static bool app_is_settled(void *ud) {
  await_app *await = ud;
  await->state = dsc_registry_app_state(await->d->registry, await->app, NULL);
  return await->state != DSC_APP_PENDING;
}

bool dsc_discoverer_await_app(dsc_frame *frame, dsc_str app, uint32_t timeout_ms) {
  if (dsc_registry_get_kind(frame->d->registry) == DSC_REGISTRY_NONE) return true;
  await_app await = {.d = frame->d, .app = app};
  dsc_discoverer_run_until(frame, app_is_settled, &await, timeout_ms);
  return await.state == DSC_APP_READ;
}

typedef struct await_ready {
  dsc_discoverer *d;
  dsc_str missing; /* the first app that is not read; empty: this node's own registration */
  bool refused;
} await_ready;

static bool is_ready(void *ud) {
  await_ready *await = ud;
  dsc_discoverer *d = await->d;
  await->missing = (dsc_str){0};
  if (dsc_registry_get_kind(d->registry) == DSC_REGISTRY_NONE) return true;
  size_t at = 0;
  for (dsc_app_entry *entry; (entry = dsc_map_next(&d->apps, &at));) {
    dsc_app_state state = dsc_registry_app_state(d->registry, dsc_str_of(entry->name), NULL);
    if (state == DSC_APP_READ) continue;
    await->missing = dsc_str_of(entry->name);
    return false;
  }
  return !d->own_app || dsc_discoverer_registered(d);
}

dsc_err dsc_discoverer_ready(dsc_frame *frame, uint32_t timeout_ms, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  await_ready await = {.d = d};
  if (dsc_discoverer_run_until(frame, is_ready, &await, timeout_ms)) return DSC_OK;
  dsc_err err = dsc_registry_is_up(d->registry) ? DSC_ETIMEOUT : DSC_EREGISTRY;
  dsc_why trouble = {""};
  dsc_str app = await.missing.n ? await.missing : dsc_discoverer_own_app(d);
  dsc_registry_app_state(d->registry, app, &trouble);
  const char *mark = trouble.text[0] ? ": " : "";
  if (await.missing.n)
    return dsc_fail(why, err, "not ready after %u ms: app \"%.*s\" was not read yet%s%s", timeout_ms, DSC_STR_ARG(app),
                    mark, trouble.text);
  return dsc_fail(why, err, "not ready after %u ms: %s is not registered yet%s%s", timeout_ms,
                  d->own_addr ? d->own_addr : "this node", mark, trouble.text);
}

dsc_err dsc_discoverer_register(dsc_frame *frame, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                                dsc_why *why) {
  dsc_discoverer *d = frame->d;
  dsc_addr parsed;
  dsc_err err = dsc_addr_check_app(app, why);
  if (!err) err = dsc_addr_parse_own(&parsed, addr, why);
  if (err) return err;
  if (d->stopping) return dsc_fail(why, DSC_ESTOPPED, "%s", dsc_err_text(DSC_ESTOPPED));
  if (d->own_app) return dsc_fail(why, DSC_EINVALID, "this discoverer is registered as \"%s\" already", d->own_app);
  if (weight > DSC_WEIGHT_MAX) return dsc_fail(why, DSC_EINVALID, "weight: %u is not in 0..%d", weight, DSC_WEIGHT_MAX);
  char *own_app = dsc_mem_strdup(app);
  char *own_addr = dsc_mem_strdup(dsc_str_of(parsed.text));
  err = own_app && own_addr ? dsc_registry_register(d->registry, app, dsc_str_of(parsed.text), weight, metadata)
                            : DSC_ENOMEM;
  if (err) {
    dsc_mem_free(own_app);
    dsc_mem_free(own_addr);
    return dsc_fail(why, err, "app \"%.*s\" could not be registered: %s", DSC_STR_ARG(app), dsc_err_text(err));
  }
  d->own_app = own_app;
  d->own_addr = own_addr;
  return DSC_OK;
}

bool dsc_discoverer_is_server(const dsc_discoverer *d) {
  return d->own_app != NULL;
}

bool dsc_discoverer_is_client(const dsc_discoverer *d) {
  return d->apps.count > 0 || d->default_config != NULL;
}

dsc_str dsc_discoverer_own_app(const dsc_discoverer *d) {
  return dsc_str_of(d->own_app);
}

dsc_str dsc_discoverer_own_addr(const dsc_discoverer *d) {
  return dsc_str_of(d->own_addr);
}
