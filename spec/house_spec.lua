-- The house rules, each seen to fail on a fault planted into a tree that is clean.
local proc = require "spec.support.proc"

local HEADER = [[
/*
** name.h - what it is.
*/
#ifndef DSC_ROOM_NAME_H
#define DSC_ROOM_NAME_H

#include <stddef.h>

typedef struct dsc_name dsc_name;

/* Returns something. Any thread. */
__attribute__((format(printf, 1, 2))) int dsc_name_get(const char *format, ...);

/* Calls back. Loop thread. */
void dsc_name_each(dsc_name *name, void (*on_each)(void *arg), void *arg);

#endif
]]

local SOURCE = [[
/*
** name.c - what it does; "exit(1)" in a string and abort() in a comment are none.
*/
#include "room/name.h"

struct dsc_name {
  int (*free)(void);
};

static const char *const words[] = {"system(1)", "}"};

static int helper(int n)
{
  return words[n] != NULL ? '{' : 0;
}

int dsc_name_get(const char *format, ...)
{
  struct dsc_name name = {0};
  return name.free != NULL ? name.free() : helper(format[0]);
}
]]

local LUA = [[
/*
** lua.c - the methods.
*/
#include <lua.h>
#include "core/discover.h"

static const luaL_Reg methods[] = {{"get", get}, {"__gc", gc}, {NULL, NULL}};

int luaopen_discover_core(lua_State *L)
{
  return methods[0].name != NULL;
}
]]

local function fill(text, room, name)
  return (text:gsub("ROOM_NAME", (room .. "_" .. name):upper()):gsub("room/name", room .. "/" .. name)
    :gsub("name%.([ch]) %-", name .. ".%1 -"))
end

-- A clean tree: path to text.
local function clean()
  local tree = {
    ["csrc/lua/lua.c"] = LUA,
    ["csrc/core/discover.h"] = fill(HEADER, "core", "discover"),
    ["README.md"] = "`d:get(app, path)`\n",
    ["lua/discover/types.lua"] = "---@meta\nfunction Discoverer:get(app) end\n",
    ["lua/discover/init.lua"] = "return require 'discover.core'\n",
  }
  for room, name in pairs { base = "str", model = "node", net = "loop", core = "call" } do
    tree[("csrc/%s/%s.h"):format(room, name)] = fill(HEADER, room, name)
    tree[("csrc/%s/%s.c"):format(room, name)] = fill(SOURCE, room, name)
  end
  return tree
end

-- Writes a tree and returns what the house says of it: the rules that fail, the whole output.
local function judge(tree)
  local dir = proc.tmpdir()
  proc.shell("cd " .. dir .. " && mkdir -p csrc/base csrc/model csrc/net csrc/core csrc/lua lua/discover")
  for path, text in pairs(tree) do proc.write_file(dir .. "/" .. path, text) end
  local p = proc.start{ "lua5.4", proc.root() .. "/spec/house", dir }
  local code, out = p:wait(30), p:output()
  local failing = {}
  for name in out:gmatch "FAIL ([%w-]+)" do failing[#failing + 1] = name end
  assert.equal(#failing == 0 and 0 or 1, code, out)
  return failing, out
end

local function lines(count)
  return ("  n++;\n"):rep(count)
end

-- { rule, what is planted, file, plain text to be replaced, by what }; without a replacement, text to be appended.
local faults = {
  { "include-direction", "to the right", "csrc/base/str.c", '"base/str.h"', '"net/loop.h"' },
  { "include-direction", "without its room", "csrc/base/str.c", '"base/str.h"', '"str.h"' },
  { "include-direction", "own header in <>", "csrc/net/loop.c", '"net/loop.h"', "<base/str.h>" },
  { "seam", "core's inside in the Lua room", "csrc/lua/lua.c", '"core/discover.h"', '"core/call.h"' },
  { "lua-headers", "lua.h in core", "csrc/core/call.c", '"core/call.h"', "<lua.h>" },
  { "lua-headers", "lauxlib.h in base", "csrc/base/str.c", '"base/str.h"', "<lauxlib.h>" },
  { "one-door", "hiredis in core", "csrc/core/call.c", '"core/call.h"', "<hiredis/hiredis.h>" },
  { "one-door", "curl in a public header", "csrc/net/loop.h", "<stddef.h>", "<curl/curl.h>" },
  { "one-door", "c-ares elsewhere in net", "csrc/net/loop.c", '"net/loop.h"', "<ares.h>" },
  { "one-door", "libuv in core", "csrc/core/call.c", '"core/call.h"', "<uv.h>" },
  { "one-door", "sodium in model", "csrc/model/node.c", '"model/node.h"', "<sodium.h>" },
  { "one-door", "yajl in lua.c", "csrc/lua/lua.c", "<lua.h>", "<yajl/yajl_gen.h>" },
  { "one-door", "OpenSSL in net", "csrc/net/loop.c", '"net/loop.h"', "<openssl/ssl.h>" },
  { "one-door", "openssl in core", "csrc/core/call.c", '"core/call.h"', "<openssl/ssl.h>" },
  { "file-size", "401 lines", "csrc/base/str.c", ("\n"):rep(401) },
  { "function-size", "41 lines", "csrc/base/str.c", "static void f(int n)\n{\n" .. lines(38) .. "}\n" },
  { "function-size", "81 lines with a reason", "csrc/base/str.c",
    "/* reason: a table. */\nstatic void f(int n)\n{\n" .. lines(78) .. "}\n" },
  { "banned-calls", "strcpy", "csrc/base/str.c", "helper(format[0])", "strcpy(a, b)" },
  { "banned-calls", "exit", "csrc/core/call.c", "helper(format[0])", "exit (1)" },
  { "banned-calls", "free", "csrc/core/call.c", "helper(format[0])", "(free(x), 1)" },
  { "banned-calls", "getenv in a macro", "csrc/net/loop.c", "#define X getenv(\"HOME\")\n" },
  { "banned-calls", "assert", "csrc/net/loop.c", "helper(format[0])", "assert(1)" },
  { "banned-calls", "stdout", "csrc/net/loop.c", "helper(format[0])", "fputs(s, stdout)" },
  { "comments", "//", "csrc/net/loop.c", "// no\n" },
  { "prefix", "a function", "csrc/net/loop.c", "int loop_get(void)\n{\n  return 1;\n}\n" },
  { "prefix", "a prototype", "csrc/net/loop.h", "dsc_name_each", "name_each" },
  { "type-names", "typedef", "csrc/net/loop.c", "typedef struct dsc_loop loop_t;\n" },
  { "type-names", "function pointer", "csrc/net/loop.c", "typedef int (*fn_t)(void);\n" },
  { "type-names", "struct", "csrc/net/loop.c", "struct loop_t { int n; };\n" },
  { "header-guard", "another name", "csrc/net/loop.h", "DSC_NET_LOOP_H", "LOOP_H" },
  { "contract", "no comment", "csrc/net/loop.h", "/* Returns something. Any thread. */\n", "\n" },
  { "contract", "no thread", "csrc/net/loop.h", "Loop thread.", "" },
  { "contract", "a blank line between", "csrc/net/loop.h", "Loop thread. */", "Loop thread. */\n" },
  { "file-head", "none", "csrc/net/loop.c", "/*\n** loop.c - ", "/*\n** " },
  { "file-head", "another file's", "csrc/net/loop.c", "** loop.c - ", "** pool.c - " },
  { "layout", "a tab", "csrc/net/loop.c", "\tint x;\n" },
  { "layout", "a trailing blank", "csrc/net/loop.c", "int x; \n" },
  { "layout", "a long line", "csrc/net/loop.c", "/*" .. ("x"):rep(120) .. "*/\n" },
  { "methods-in-readme", "an undocumented method", "README.md", "d:get(", "d:set(" },
  { "methods-in-types", "an undocumented method", "lua/discover/types.lua", ":get(", ":set(" },
  { "types-are-meta", "no ---@meta", "lua/discover/types.lua", "---@meta\n", "" },
  { "lua-file-size", "401 lines", "lua/discover/init.lua", ("\n"):rep(401) },
  { "lua-51", "<close>", "lua/discover/init.lua", "return", "local d <close> = nil return" },
  { "leftovers", "a comment", "lua/discover/init.lua", "-- TO" .. "DO: more\n" },
  { "machine-paths", "a path", "README.md", "see /wo" .. "rk/main\n" },
}

-- The first place where `old` stands as it is, no pattern.
local function replace(text, old, new)
  local first, last = text:find(old, 1, true)
  assert(first, "the clean tree has no " .. old)
  return text:sub(1, first - 1) .. new .. text:sub(last + 1)
end

describe("#house", function()
  it("finds nothing in a clean tree", function()
    local failing, out = judge(clean())
    assert.same({}, failing, out)
    assert.matches("ok   contract +10 prototypes", out)
    assert.matches("ok   prefix +19 functions", out)
    assert.matches("ok   methods%-in%-readme +1 methods", out)
  end)

  for _, fault in ipairs(faults) do
    it(("%s: %s"):format(fault[1], fault[2]), function()
      local tree = clean()
      local text = tree[fault[3]]
      if fault[5] then text = replace(text, fault[4], fault[5]) else text = text .. fault[4] end
      tree[fault[3]] = text
      if fault[4] == "DSC_NET_LOOP_H" then tree[fault[3]] = text:gsub(fault[4], fault[5]) end
      local failing, out = judge(tree)
      assert.same({ fault[1] }, failing, out)
      assert.is_truthy(out:find("\n       " .. fault[3], 1, true) or fault[1]:find "^methods", out)
    end)
  end

  it("lets a function of 80 lines pass with a reason", function()
    local tree = clean()
    tree["csrc/base/str.c"] = tree["csrc/base/str.c"] .. "/* reason: a table. */\nstatic void f(int n)\n{\n"
      .. lines(77) .. "}\n"
    assert.same({}, (judge(tree)))
  end)

  it("lets the doors be opened where they are", function()
    local tree = clean()
    for path, header in pairs {
      ["net/redis.c"] = "<hiredis/read.h>", ["net/http.c"] = "<curl/curl.h>", ["net/http_watch.c"] = "<curl/curl.h>",
      ["net/resolve.c"] = "<ares.h>", ["base/secret.c"] = "<sodium.h>", ["lua/json.c"] = "<yajl/yajl_gen.h>",
    } do
      tree["csrc/" .. path] = ("/*\n** %s - a door.\n*/\n#include %s\n"):format(path:match "[^/]+$", header)
    end
    assert.same({}, (judge(tree)))
  end)

  it("is silent about documents that do not exist", function()
    local tree = clean()
    tree["README.md"], tree["lua/discover/types.lua"] = nil, nil
    local failing, out = judge(tree)
    assert.same({}, failing)
    assert.matches("README%.md does not exist", out)
  end)
end)
