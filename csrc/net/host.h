/*
** host.h - what this machine offers: its addresses, and whether a port is free.
*/
#ifndef DSC_NET_HOST_H
#define DSC_NET_HOST_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

#define DSC_HOST_MAX_ADDRS 64

typedef struct dsc_host_addrs {
  size_t count;
  char addrs[DSC_HOST_MAX_ADDRS][48]; /* IP addresses as text, in the order of the interfaces */
  /* global unicast in Go's sense: not loopback, link-local, multicast, unspecified */
  bool is_global[DSC_HOST_MAX_ADDRS];
} dsc_host_addrs;

/* Lists the addresses of interfaces that are up. Any thread. Fails: DSC_EIO with `why`. */
dsc_err dsc_host_list(dsc_host_addrs *addrs, dsc_why *why);

/* Binds to `ip` ("" or "0.0.0.0": all) and `port` (0: any free one), closes again, and returns the port that was
** free. Any thread. Fails: DSC_EINVALID (not an IP address), DSC_EIO (in use, not permitted) with `why`. */
dsc_err dsc_host_probe_port(const char *ip, uint16_t port, uint16_t *found, dsc_why *why);

/* True for a global unicast address (10/8, 172.16/12, 192.168/16 included). Any thread. False for what is no IP
** address. */
bool dsc_host_is_global(const char *ip);

#pragma GCC visibility pop

#endif
