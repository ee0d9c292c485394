/*
** host.c - the addresses of this machine from getifaddrs(3), and a port tried by binding to it.
**
** Nothing is kept between calls. Any thread.
*/
#include "net/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union any_addr {
  struct sockaddr sa;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} any_addr;

/* An IPv4 address in host order. The same rule as Go's net.IP.IsGlobalUnicast: private networks count as global. */
static bool is_global_v4(uint32_t ip) {
  bool loopback = (ip >> 24) == 127;
  bool link_local = (ip >> 16) == 0xa9fe;
  bool multicast = (ip >> 28) == 0xe;
  return ip != 0 && ip != 0xffffffffU && !loopback && !link_local && !multicast;
}

static bool is_global_v6(const struct in6_addr *ip) {
  if (IN6_IS_ADDR_V4MAPPED(ip)) {
    uint32_t v4;
    memcpy(&v4, ip->s6_addr + 12, sizeof v4);
    return is_global_v4(ntohl(v4));
  }
  return !IN6_IS_ADDR_UNSPECIFIED(ip) && !IN6_IS_ADDR_LOOPBACK(ip) && !IN6_IS_ADDR_LINKLOCAL(ip) &&
         !IN6_IS_ADDR_MULTICAST(ip);
}

bool dsc_host_is_global(const char *ip) {
  struct in_addr v4;
  struct in6_addr v6;
  if (inet_pton(AF_INET, ip, &v4) == 1) return is_global_v4(ntohl(v4.s_addr));
  return inet_pton(AF_INET6, ip, &v6) == 1 && is_global_v6(&v6);
}

static void add_addr(dsc_host_addrs *addrs, const struct sockaddr *sa) {
  const void *bytes;
  if (sa->sa_family == AF_INET) {
    bytes = &((const any_addr *)(const void *)sa)->v4.sin_addr;
  } else if (sa->sa_family == AF_INET6) {
    bytes = &((const any_addr *)(const void *)sa)->v6.sin6_addr;
  } else {
    return;
  }
  char *text = addrs->addrs[addrs->count];
  if (!inet_ntop(sa->sa_family, bytes, text, sizeof addrs->addrs[0])) return;
  addrs->is_global[addrs->count++] = dsc_host_is_global(text);
}

dsc_err dsc_host_list(dsc_host_addrs *addrs, dsc_why *why) {
  struct ifaddrs *all;
  addrs->count = 0;
  if (getifaddrs(&all) != 0) {
    return dsc_fail(why, DSC_EIO, "the addresses of this machine cannot be read: %s", strerror(errno));
  }
  for (const struct ifaddrs *at = all; at && addrs->count < DSC_HOST_MAX_ADDRS; at = at->ifa_next) {
    if (at->ifa_addr && (at->ifa_flags & IFF_UP)) add_addr(addrs, at->ifa_addr);
  }
  freeifaddrs(all);
  return DSC_OK;
}

static bool to_sockaddr(const char *ip, uint16_t port, any_addr *addr, socklen_t *len) {
  memset(addr, 0, sizeof *addr);
  if (inet_pton(AF_INET, ip[0] ? ip : "0.0.0.0", &addr->v4.sin_addr) == 1) {
    addr->v4.sin_family = AF_INET;
    addr->v4.sin_port = htons(port);
    *len = sizeof addr->v4;
    return true;
  }
  if (inet_pton(AF_INET6, ip, &addr->v6.sin6_addr) != 1) return false;
  addr->v6.sin6_family = AF_INET6;
  addr->v6.sin6_port = htons(port);
  *len = sizeof addr->v6;
  return true;
}

static bool bind_to(int fd, any_addr *addr, socklen_t len) {
  int on = 1;
  /* as servers do: a port that only lingers in TIME_WAIT is free; a listening one is not, with this flag either */
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return bind(fd, &addr->sa, len) == 0 && listen(fd, 1) == 0 && getsockname(fd, &addr->sa, &len) == 0;
}

dsc_err dsc_host_probe_port(const char *ip, uint16_t port, uint16_t *found, dsc_why *why) {
  any_addr addr;
  socklen_t len;
  if (!to_sockaddr(ip, port, &addr, &len)) return dsc_fail(why, DSC_EINVALID, "\"%s\" is not an IP address", ip);
  int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool bound = fd >= 0 && bind_to(fd, &addr, len);
  int cause = errno;
  if (fd >= 0) close(fd);
  if (!bound) {
    return dsc_fail(why, DSC_EIO, "port %u of %s cannot be used: %s", port, ip[0] ? ip : "0.0.0.0", strerror(cause));
  }
  *found = ntohs(addr.sa.sa_family == AF_INET6 ? addr.v6.sin6_port : addr.v4.sin_port);
  return DSC_OK;
}
