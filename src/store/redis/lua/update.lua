-- KEYS: the entry, and the index of its principal if this server has both
-- ARGV: now, expected version, entry, its time to live, whether the index on another node has the deadline
if not is_there then return false end
if not is_live(ARGV[2]) then return redis.call('GET', KEYS[1]) end
local next_owner, deadline = owner_of(ARGV[3]), ARGV[3]:sub(18, 25)
if next_owner and not KEYS[2] and ARGV[5] == '' then
  -- The index must be written first.
  if next_owner ~= owner or number(deadline) - number(head:sub(18, 25)) > SLACK then return {0, next_owner} end
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
if was_placed then redis.call('SETRANGE', KEYS[1], 0, next_owner and 'Q' or 'S') end
if KEYS[2] then index_add(KEYS[2], member(next_owner, KEYS[1]), deadline) end
if owner and owner ~= next_owner then return {1, owner} end
return 1
