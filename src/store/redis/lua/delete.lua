-- ARGV: now, mark, its time to live
if not is_there then return false end
if kind ~= 'L' and kind ~= 'S' then return redis.call('GET', KEYS[1]) end
if kind == 'S' then
  local marked = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  -- A server that is full refuses the mark. The session ends all the same.
  if not marked.err then return 1 end
end
redis.call('DEL', KEYS[1])
return 1
