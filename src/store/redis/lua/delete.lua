-- ARGV: now, tombstone, its time to live, and the owner that the session must have, if any
if not is_there then return false end
if not is_session then return redis.call('GET', KEYS[1]) end
if ARGV[4] and owner ~= ARGV[4] then return false end
local done = owner and {1, owner} or 1
if kind == 'S' or kind == 'Q' then
  local written = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  -- A full server rejects the tombstone. The session is deleted all the same.
  if not written.err then return done end
end
redis.call('DEL', KEYS[1])
return done
