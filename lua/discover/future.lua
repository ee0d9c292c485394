-- discover.future - the part of futures that yields: PUC Lua 5.1 can't go on in C after a yield.
local future = {}

--- Gives the type its `await`; `park` asks for the coroutine to be resumed (false: it is ready), `value` is the result.
function future.await(park, value)
  return function(self)
    while park(self) do coroutine.yield(self) end -- whoever resumes it too early only makes it ask again
    return value(self)
  end
end

return future
