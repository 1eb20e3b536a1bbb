-- KEYS: the entry, and the index of its principal if this server has both
-- ARGV: now, entry, its time to live
if is_there then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if KEYS[2] then index_add(KEYS[2], member(owner_of(ARGV[2]), KEYS[1]), ARGV[2]:sub(18, 25)) end
return 1
