local discover = require "discover"
local proc = require "spec.support.proc"

describe("#api secret", function()
  it("shows its length only", function()
    assert.equal("secret(12 bytes)", tostring(discover.secret "abcdefghijkl"))
    assert.equal("secret(0 bytes)", tostring(discover.secret ""))
  end)

  it("compares", function()
    local s = discover.secret "abc"
    assert.is_true(s:equals "abc")
    assert.is_false(s:equals "abd")
    assert.is_false(s:equals "")
    assert.is_true(s:equals(discover.secret "abc"))
    assert.is_false(s:equals(discover.secret "x"))
    assert.error_matches(function() s:equals(5) end, "string or secret expected")
    assert.error_matches(function() discover.secret(5) end, "string expected")
  end)

  it("comes from a file, without the newline", function()
    local dir = proc.tmpdir()
    for text, length in pairs { ["abc\n"] = 3, ["abc\r\n"] = 3, abc = 3, ["a\nb\n\n"] = 4, [""] = 0 } do
      local secret = discover.secret_from_file(proc.write_file(dir .. "/s", text))
      assert.equal(("secret(%d bytes)"):format(length), tostring(secret))
    end
    local s, why, code = discover.secret_from_file(dir .. "/none")
    assert.is_nil(s)
    assert.matches("^io: .*/none: No such file", why)
    assert.equal("io", code)
    assert.equal("io", select(3, discover.secret_from_file(dir)))
    assert.equal("io", select(3, discover.secret_from_file "a\0b"))
    proc.write_file(dir .. "/big", ("x"):rep(65537))
    assert.equal("too_large", select(3, discover.secret_from_file(dir .. "/big")))
    assert.has_error(function() discover.secret_from_file() end)
  end)

  it("comes from the environment", function()
    assert.is_true(discover.secret_from_env "PATH":equals(os.getenv "PATH"))
    local s, why, code = discover.secret_from_env "DISCOVER_NO_SUCH_THING"
    assert.is_nil(s)
    assert.equal("invalid: the environment variable DISCOVER_NO_SUCH_THING is not set", why)
    assert.equal("invalid", code)
    assert.has_error(function() discover.secret_from_env() end)
    -- Whatever is given, what is said stays a line that a log can take.
    s, why = discover.secret_from_env(("\n\27[2J"):rep(10000))
    assert.is_nil(s)
    assert.is_true(#why < 400, #why)
    assert.is_nil(why:find "%c")
  end)

  it("is what a call string's token becomes", function()
    local config = discover.parse_call "1:500ms:tok-en"
    assert.equal("secret(6 bytes)", tostring(config.token))
    assert.is_false(config.http2)
    assert.equal(0.5, config.timeout)
    assert.is_true(discover.parse_call "s".ssl)
    assert.is_true(discover.parse_call "s".http2)
    assert.equal("invalid", select(3, discover.parse_call "1:has blank"))
    assert.error_matches(function() discover.parse_call(5) end, "string expected")
  end)

  it("is used in options", function()
    local d = assert(discover.new { calls = { a = { token = discover.secret "t" }, b = { token = "t" } } })
    d:stop()
    assert.error_matches(function() discover.new { calls = { a = { token = 5 } } } end,
      "'token': secret or string expected")
    assert.error_matches(function() discover.new { password = true } end, "'password': secret or string expected")
  end)
end)
