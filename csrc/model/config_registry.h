/*
** config_registry.h - registry strings, taken apart.
*/
#ifndef DSC_MODEL_CONFIG_REGISTRY_H
#define DSC_MODEL_CONFIG_REGISTRY_H

#include "model/config.h"

#define DSC_REGISTRY_TEXT_MAX           8192  /* bytes of a registry string */
#define DSC_REGISTRY_CONNECT_TIMEOUT_MS 3000u /* without connectTimeout */

/* What names a registry (the parsed registry string). */
typedef enum dsc_registry_kind {
  DSC_REGISTRY_NONE,
  DSC_REGISTRY_REDIS,
  DSC_REGISTRY_MEMORY,
  DSC_REGISTRY_SENTINEL, /* Redis; who the master is say Sentinels */
  DSC_REGISTRY_CLUSTER   /* Redis Cluster */
} dsc_registry_kind;

#define DSC_REGISTRY_HOSTS_MAX 16

typedef struct dsc_registry_host {
  char *name; /* a name or an IP address, without brackets */
  uint16_t port;
} dsc_registry_host;

typedef struct dsc_registry_config {
  dsc_registry_kind kind;
  char *text;           /* canonical, never with a password: for messages and for `shared`; not NULL after a parse.
                   ** redis[s]://[user@]host:port/db[?ca=...&id=...], unix://[user@]/path?db=, memory://name, "",
                   ** redis[s]+sentinel://[user@]h1:p1,h2:p2/master/db[?...&sentinelUser=], redis[s]+cluster://... ;
                   ** lists of hosts are sorted, since their order names no other registry */
  char *host;           /* redis; NULL with a path, and with sentinel and cluster */
  uint16_t port;        /* redis */
  uint32_t db;          /* redis, sentinel; cluster: 0 */
  char *path;           /* redis: of a Unix socket; NULL: host and port */
  bool has_tls;         /* redis, sentinel, cluster: rediss... */
  dsc_tls_config tls;   /* of rediss..., for all servers of it */
  char *user;           /* redis, sentinel (of the master), cluster; NULL: none */
  char *name;           /* memory; sentinel: the master's */
  dsc_secret *password; /* as user */
  uint32_t connect_timeout_ms;                     /* redis, sentinel (to the master), cluster */
  char *id;                                        /* redis, sentinel, cluster: keeps `shared` apart; NULL: none */
  dsc_registry_host hosts[DSC_REGISTRY_HOSTS_MAX]; /* sentinel: the Sentinels; cluster: nodes to begin with */
  size_t n_hosts;                                  /* sentinel, cluster: 1..16, each once, in the string's order */
  char *sentinel_user;                             /* sentinel: of the Sentinels themselves; NULL: none */
  dsc_secret *sentinel_password;                   /* as sentinel_user */
} dsc_registry_config;

/* True when a registry of this kind is on servers, so that it has a thread and a loop of its own. Any thread. */
bool dsc_registry_kind_has_servers(dsc_registry_kind kind);

/* Parses a registry string. "" is none; memory://name takes 1..255 bytes as they are; or
**   redis://[user][:password]@host:port/db?database=&connectTimeout=&id=
**     user, password and values are percent-decoded; host 127.0.0.1, port 6379, database 0 where missing;
**     connectTimeout is a duration, bare in ms, 1 ms..1 day; readTimeout writeTimeout idleTimeout maxIdle
**     maxActive logSlow are accepted and ignored, other parameters refused by name; a user needs a password;
**   rediss://... the same over TLS, with ca= cert= key= (paths), server_name=, verify=false;
**   unix://[user:password@]/path?db= (or database=, and the others): a Unix socket, its path percent-decoded;
**   redis+sentinel://[user:password@]h1:p1,h2:p2/master/db?sentinelUser=&sentinelPassword=  (or rediss+sentinel://)
**     up to 16 Sentinels (port 26379 where missing) and the name by which they know the master, percent-decoded; user
**     and password are for the master, sentinelUser and sentinelPassword for the Sentinels, which otherwise get none;
**   redis+cluster://[user:password@]h1:p1,h2:p2/  (or rediss+cluster://)
**     up to 16 nodes (port 6379 where missing); a Cluster has no database but 0;
**   host:port, then in any order a database (1..15) and a password
**     empty parts are skipped; host 127.0.0.1, port 6379, database 15 where missing.
** Bare names (keys of Go config files) are refused with a sentence that says so.
** `user` and `password` from the options win over the string's (NULL: not given); kinds without credentials
** ignore them. Any thread. Caller owns: dsc_registry_config_clear(). Takes its own reference to `password`.
** Fails: DSC_EINVALID (`why` shows nothing of the string but names of parameters), DSC_ENOMEM; `config` is then
** empty. */
dsc_err dsc_registry_config_parse(dsc_registry_config *config, dsc_str text, const char *user, dsc_secret *password,
                                  dsc_why *why);

/* Frees what it holds and leaves an empty one (kind none). Owner's thread. */
void dsc_registry_config_clear(dsc_registry_config *config);

#endif
