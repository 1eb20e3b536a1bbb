-- ARGV: now, version
if is_live(ARGV[2]) then redis.call('DEL', KEYS[1]) elseif is_there then return 0 end
return 1
