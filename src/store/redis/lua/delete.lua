-- ARGV: now, the forward to leave or nothing, its time to live, and the owner and the version that the session must
-- have, if any
if not is_there then return false end
if not is_session then return redis.call('GET', KEYS[1]) end
if ARGV[4] and ARGV[4] ~= '' and owner ~= ARGV[4] then return false end
if ARGV[5] and head:sub(2, 9) ~= ARGV[5] then return redis.call('GET', KEYS[1]) end
-- A full server accepts a write of a script that has deleted something.
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '' then leave(ARGV[2], ARGV[3]) elseif was_placed then leave('D', 0) end
return owner and {1, owner} or 1
