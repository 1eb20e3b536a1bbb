-- KEYS: the old key, and outside a Cluster the new key and the index of the record's principal
-- ARGV: now, expected version, forward, its time to live, entry, its time to live
if not is_there then return false end
if not is_live(ARGV[2]) then return redis.call('GET', KEYS[1]) end
if KEYS[2] then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6]) end
leave(ARGV[3], ARGV[4])
if KEYS[3] then
  local next_owner = owner_of(ARGV[5])
  local is_theirs = owner and owner:sub(1, 32) == next_owner:sub(1, 32)
  if is_theirs then redis.call('ZREM', KEYS[3], member(owner, KEYS[1])) end
  index_add(KEYS[3], member(next_owner, KEYS[2]), ARGV[5]:sub(18, 25))
  if is_theirs then return 1 end
end
return owner and {1, owner} or 1
