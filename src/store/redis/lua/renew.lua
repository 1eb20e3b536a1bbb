-- KEYS: old key, and the new one if this server has both
-- ARGV: now, expected version, forward, its time to live, entry, its time to live
if not is_there then return false end
if not is_live(ARGV[2]) then return redis.call('GET', KEYS[1]) end
if KEYS[2] then redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6]) end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
