-- Forgets entries that Postgres holds, and counts what still waits of their batches.
--
-- KEYS  the stream; the epoch; what waits, by batch; the bytes that wait
-- ARGV  the group; the epoch at reading; entry ids
-- Returns how many entries were forgotten: none of another queue, where the ids mean other entries.
-- Atomic, so that of two workers that had an entry only one counts it.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
local forgotten, bytes, waiting = 0, 0, {}
for i = 3, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    forgotten = forgotten + 1
    local fields = found[1] and found[1][2] or {}
    bytes = bytes + #(fields[4] or '')
    if fields[1] == 'batch' then
      waiting[fields[2]] = (waiting[fields[2]] or 0) + 1
    end
  end
end
if forgotten == 0 then
  return 0
end
waiting['*'] = forgotten -- of all batches
redis.call('DECRBY', KEYS[4], bytes)
for batch, count in pairs(waiting) do
  if redis.call('HINCRBY', KEYS[3], batch, -count) <= 0 then
    redis.call('HDEL', KEYS[3], batch)
  end
end
return forgotten
