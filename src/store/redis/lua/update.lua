-- ARGV: now, expected version, entry, its time to live
if not is_there then return false end
if not is_live(ARGV[2]) then return redis.call('GET', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
if kind == 'S' then redis.call('SETRANGE', KEYS[1], 0, 'S') end
return 1
