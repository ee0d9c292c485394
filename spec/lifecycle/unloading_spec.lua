-- Plugins, states and processes that end while the library is at work in them.
local c_host = require "spec.support.c_host"
local lua_run = require "spec.support.lua_run"
local native = require "spec.support.native"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

-- A plugin: one function that starts a discoverer, calls without waiting, and leaves all of it behind or stops.
local PLUGIN = [[
#include <signal.h>
#include <stdlib.h>
#include <discover.h>
int plugin(const char *registry, const char *addr, int stop);
int plugin(const char *registry, const char *addr, int stop) {
  dsc_options options;
  dsc_discoverer *d;
  dsc_frame frame;
  dsc_request request = {.app = dsc_str_of("svc"), .method = dsc_str_of("GET"), .path = dsc_str_of("/slow")};
  dsc_options_defaults(&options);
  options.registry = dsc_str_of(registry);
  options.has_log_level = true;
  options.log_level = DSC_LOG_OFF;
  if (dsc_discoverer_new(&d, &options, NULL)) return 1;
  if (dsc_discoverer_enter(d, &frame, NULL, NULL)) return 2;
  if (dsc_discoverer_register(&frame, dsc_str_of("web"), dsc_str_of("127.0.0.1:1"), 1, NULL, NULL)) return 3;
  if (dsc_discoverer_ready(&frame, 5000, NULL)) return 4;
  if (dsc_discoverer_set_node(&frame, request.app, dsc_str_of(addr), 1, NULL, NULL)) return 5;
  dsc_future_free(dsc_discoverer_async(&frame, &request, false));
  dsc_discoverer_poll(&frame, NULL);
  dsc_discoverer_leave(&frame);
  if (getenv("MUTE")) kill(atoi(getenv("MUTE")), SIGSTOP);
  return dsc_discoverer_free(d, stop) ? 0 : 6;
}
]]

local LOADER = [[
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
  for (int i = 0; i < atoi(argv[4]); i++) {
    void *handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!handle) return printf("%s\n", dlerror()), 100;
    int (*plugin)(const char *, const char *, int) =
        (int (*)(const char *, const char *, int))dlsym(handle, "plugin");
    int code = plugin ? plugin(argv[2], argv[3], i % 2) : 101;
    if (code) return code;
    if (dlclose(handle)) return 102;
    handle = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
    if (handle) return printf("it is still there\n"), 103;
  }
  usleep((useconds_t)atoi(argv[5]) * 1000); /* whoever runs code that is gone shall do it now */
  printf("done %d\n", argc);
  return 0;
}
]]

-- A host with a registry of its own and a Lua that uses the same library.
local EMBEDDER = [[
#include <stdio.h>
#include <discover.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
int main(int argc, char **argv) {
  dsc_options options;
  dsc_discoverer *d;
  dsc_frame frame;
  size_t before, with_lua, after;
  dsc_options_defaults(&options);
  options.registry = dsc_str_of("memory://one");
  if (argc < 2 || dsc_discoverer_new(&d, &options, NULL) || dsc_discoverer_enter(d, &frame, NULL, NULL)) return 1;
  if (dsc_discoverer_register(&frame, dsc_str_of("web"), dsc_str_of("10.1.2.3:80"), 7, NULL, NULL)) return 2;
  dsc_discoverer_leave(&frame);
  dsc_mem_usage(&before, NULL);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dostring(L, argv[1])) return printf("%s\n", lua_tostring(L, -1)), 3;
  dsc_mem_usage(&with_lua, NULL);
  lua_close(L);
  dsc_mem_usage(&after, NULL);
  printf("counted %d, back %d\n", with_lua > before, after == before);
  dsc_discoverer_free(d, true);
  return 0;
}
]]

describe("unloading", function()
  local r, slow

  lazy_setup(function()
    r = redis.start()
    slow = service.start()
    slow:control{ path = "/slow", delay = 60000 }
  end)

  after_each(function() r:cli "FLUSHALL" end)

  local function gone() wait.until_true(function() return #r:keys() == 0 end, 3, "the goodbye") end

  describe("of C plugins", function()
    local host

    lazy_setup(function() host = c_host.install() end)

    -- Runs the loader with the plugin: `rounds` times, stays a little. `mute`: the process to be stopped at the end.
    local function load(url, rounds, stay, mute)
      local plugin = host:compile(PLUGIN, { shared = true })
      local loader = host:compile(LOADER, { bare = true })
      -- A sanitizer knows no code that is gone: what leaks there has no name.
      local env = { ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":detect_leaks=0", MUTE = mute or false }
      return proc.start{ loader, plugin, url, slow.addr, rounds, stay, env = env }
    end

    local function finish(p)
      local code, signal = p:wait(30)
      assert.equal("done 6\n", (p:output()))
      assert.equal(0, signal)
      assert.equal(0, code)
    end

    it("dlclose, with calls in flight and threads at work", function()
      finish(load(r:url(), 6, 0))
      gone()
    end)

    it("dlclose, with a thread that waits for a mute Redis", function()
      local own = redis.start()
      finish(load(own:url(), 1, 1500, own.p.pid))
      own:resume()
      own:kill()
    end)

    it("one libdiscover for a host and its Luas", function()
      local program = host:compile(EMBEDDER, {
        options = "$(pkg-config --cflags lua5.4)", libs = "$(pkg-config --libs lua5.4)",
      })
      local code = ([[
        package.path, package.cpath = %q, %q
        local d = assert(require "discover".open("memory://one", { calls = { web = {} } }))
        assert(d:pick("web").addr == "10.1.2.3:80")
        d:stop()
      ]]):format(lua_run.paths().LUA_PATH, host:module())
      local done = host:run{ program, code }
      assert.equal("counted 1, back 1\n", done.out)
      assert.equal(0, done.code)
    end)
  end)

  describe("of Lua states", function()
    local function clean(code)
      local run = native.run(("local url, slow = %q, %q "):format(r:url(), slow.addr) .. code)
      assert.equal("", run.err)
      assert.equal(0, run.code, run.err)
      assert.equal("done\n", run.out)
      gone()
    end

    local STATES = ([[
      local function state()
        local s = native.state()
        s:run("package.path, package.cpath = %s")
        assert(s:run "discover = require 'discover' return true")
        return s
      end
    ]]):format("\" .. (\"%q, %q\"):format(package.path, package.cpath) .. \"")

    it("two in one process, one of them closed while the other works", function()
      clean(STATES .. [[
        for round = 1, 10 do
          local a, b = state(), state()
          for i, s in ipairs { a, b } do
            assert(s:run(("d = assert(discover.start(%q, 'web', '127.0.0.1:%d', { calls = { web = {} } })) return true")
              :format(url, i)))
          end
          local order = round % 2 == 0 and { a, b } or { b, a }
          order[1]:close()
          local ok, why = order[2]:run "assert(d:pick 'web') d:set_weight(5) return d:registered()"
          assert(ok == true, why)
          order[2]:close()
        end
        print "done"
      ]])
    end)

    it("one is closed inside a callback of another", function()
      clean(STATES .. [[
        local d = discover.new()
        d:set_node("web", "127.0.0.1:1", 1)
        local closed = 0
        d:set_route(function(ac)
          local s = state()
          assert(s:run(("d = assert(discover.start(%q, 'web', '127.0.0.1:1')) return true"):format(url)))
          s:close()
          closed = closed + 1
          ac.app = "nobody"
        end)
        for _ = 1, 5 do assert(d:get("web", "/").err == "app_not_found") end
        assert(closed == 5)
        d:stop()
        print "done"
      ]])
    end)

    -- What a state is busy with when it is closed; `d`, `async` and `slow` are there.
    local BUSY = {
      ["calls in flight"] = "for _ = 1, 20 do async:get('svc', '/slow') end d:poll()",
      ["calls in flight that somebody waits for"] = [[
        for i = 1, 20 do
          local f = async:get("svc", "/slow")
          if i % 2 == 0 then f:on(function() error "nobody is told any more" end) end
          coroutine.wrap(function() f:await() error "nor woken" end)()
        end
        d:poll() ]],
      ["calls that have ended and were not told"] = [[
        for _ = 1, 20 do async:get("svc", "/"):on(function() end) end
        local last = async:get("svc", "/")
        coroutine.wrap(function() last:await() end)()
        while not last:ready() do d:get("svc", "/") end ]],
      ["streams and uploads half done"] = [[
        local n = 0
        local function reader() n = n + 1 return n < 3 and ("x"):rep(1000) or "" end
        kept = { d:request{ method = "GET", app = "svc", path = "/", stream = true } }
        kept[2] = async:request{ method = "POST", app = "svc", path = "/slow", data = reader,
                                 progress = function() end, key = "k" }
        kept[3] = async:request{ method = "GET", app = "svc", path = "/slow", stream = true }
        d:poll(0.01) ]],
      ["a WebSocket that is being opened"] = "async:open('svc', '/slow'):on(function() end) d:poll(0.01)",
      ["canceled ones"] = [[
        for _ = 1, 10 do
          local f = async:get("svc", "/slow")
          f:on(function() end)
          f:cancel()
        end ]],
    }

    for name, code in pairs(BUSY) do
      it("closed with " .. name .. " #core", function()
        clean(STATES .. ([[
          local prepare = ("url, slow = %%q, %%q "):format(url, slow) .. %q
          local busy = %q
          for round = 1, 4 do
            local s = state()
            local ok, why = s:run(prepare .. busy .. " return true")
            assert(ok == true, why)
            s:close()
          end
          print "done"
        ]]):format([[
          d = assert(discover.open(url, { shared = true, log_level = "off" }))
          assert(d:set_node("svc", slow, 1))
          async = d:async()
        ]], code))
      end)
    end

    it("in many threads, with futures pending in a shared registry #core", function()
      clean(("local inner = %q "):format([[
        local discover = require "discover"
        for round = 1, 5 do
          local d = assert(discover.start(url, "web", "127.0.0.1:1", { shared = true, log_level = "off" }))
          d:set_node("svc", slow, 1)
          local async = d:async()
          for i = 1, 10 do
            async:get("svc", i % 2 == 0 and "/slow" or "/"):on(function() end)
          end
          local res = d:get("svc", "/")
          assert(res.ok, tostring(res))
          d:poll()
          if round % 2 == 0 then d:stop() end
          d, async = nil, nil
          if round % 3 == 0 then collectgarbage() end
        end
      ]]) .. [[
        local code = ("package.path, package.cpath = %q, %q "):format(package.path, package.cpath)
          .. ("local url, slow = %q, %q "):format(url, slow) .. inner
        local codes = {}
        for i = 1, 6 do codes[i] = code end
        assert(native.threads((unpack or table.unpack)(codes)))
        print "done"
      ]])
    end)

    it("with the package forgotten and required again", function()
      clean [[
        for _ = 1, 5 do
          local d = assert(require "discover".start(url, "web", "127.0.0.1:1"))
          for name in pairs(package.loaded) do
            if name:find "^discover" then package.loaded[name] = nil end
          end
          assert(d:registered())
          local again = require "discover"
          local other = assert(again.open(url, { calls = { web = {} } }))
          assert(other:pick("web").addr == "127.0.0.1:1")
          other:stop()
          d:stop()
        end
        print "done"
      ]]
    end)
  end)

  describe("os.exit in a callback:", function()
    local CALLBACKS = {
      route = "d:set_route(leave) d:get('svc', '/')",
      ["a balancer's next"] = "d:set_load_balancer{ next = leave } d:get('svc', '/')",
      ["a balancer's response"] = "d:set_load_balancer{ response = leave } d:get('svc', '/')",
      logger = "d:set_logger(leave) d:get('svc', '/')",
      ["a caller's logger"] = "d:new_caller(nil, leave):get('svc', '/')",
      on_event = "d:on_event(leave) d:set_node('svc', slow, 0) d:poll()",
      ["a future's on"] = "d:async():get('svc', '/'):on(leave) while true do d:poll(1) end",
      ["a coroutine that awaits"] = [[
        coroutine.wrap(function() d:async():get("svc", "/"):await() leave() end)()
        while true do d:poll(1) end ]],
      progress = "d:request{ method = 'GET', app = 'svc', path = '/', progress = leave }",
      reader = "d:post('svc', '/', leave)",
      ["a route of a call that is not waited for"] = "d:set_route(leave) d:async():get('svc', '/')",
      ["with others in flight"] = [[
        for _ = 1, 10 do d:async():get("svc", "/slow") end
        d:async():get("svc", "/"):on(leave)
        while true do d:poll(1) end ]],
    }

    for name, code in pairs(CALLBACKS) do
      for how, exit in pairs { ["at once"] = "os.exit(5)", ["closing the state"] = "os.exit(5, true)" } do
        it(name .. ", " .. how, function()
          local run = native.run(([[
            local slow = %q
            d = assert(discover.start(%q, "web", "127.0.0.1:1", { log_level = "info", logger = function() end }))
            d:set_node("svc", slow, 1)
            local function leave() %s end
            %s
            print "it came back"
          ]]):format(slow.addr, r:url(), exit, code), { timeout = 15 })
          assert.equal(0, run.signal, run.err)
          assert.equal("", run.out)
          assert.equal(5, run.code, run.err)
          gone()
        end)
      end
    end
  end)
end)
