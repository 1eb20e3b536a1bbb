-- ARGV: now, mark, its time to live, and whose the session must be, if that matters
if not is_there then return false end
if not is_session then return redis.call('GET', KEYS[1]) end
if ARGV[4] and owner ~= ARGV[4] then return false end
local done = owner and {1, owner} or 1
if kind == 'S' or kind == 'Q' then
  local marked = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  -- A server that is full refuses the mark. The session ends all the same.
  if not marked.err then return done end
end
redis.call('DEL', KEYS[1])
return done
