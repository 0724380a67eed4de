-- Delivers entries to a worker: those that another worker has left, else new ones; or those alone that a dead
-- worker of its own name had in hand, and that are still there. Up to so many, and up to so
-- many bytes, which are passed only by some of the last few: how large an entry is, is seen when it is delivered.
--
-- KEYS  the stream      ARGV  the group; the worker; for how long another must have been silent, in milliseconds,
--                             or '' where nothing is taken over: to look for it walks all that is in anybody's hands;
--                             most entries; most bytes of payload; how large the largest was that was read last;
--                             the entry after which the dead worker's are delivered, or '' where there is none
-- Returns how many were taken over, and the entries. One round trip is what the script is for.
local FEW = 10
local most, most_bytes, largest = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local entries, bytes = {}, 0

local function room()
  if bytes >= most_bytes then
    return 0
  end
  local expected = math.max(1, math.floor((most_bytes - bytes) / largest))
  return math.min(FEW, expected, most - #entries)
end

local function add(found)
  for _, entry in ipairs(found) do
    entries[#entries + 1] = entry
    local size = #(entry[2][4] or '')
    bytes = bytes + size
    largest = math.max(largest, size)
  end
end

if ARGV[7] ~= '' then
  local after, read = ARGV[7], nil
  repeat
    local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', room(), 'STREAMS', KEYS[1], after)
    read = reply and reply[1][2] or {}
    local found = {}
    for _, entry in ipairs(read) do
      after = entry[1]
      if entry[2] then
        found[#found + 1] = entry
      end
    end
    add(found)
  until #read == 0 or room() == 0
  return { 0, entries }
end

if ARGV[3] ~= '' then
  local start = '0-0'
  repeat
    local reply = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], start, 'COUNT', room())
    start = reply[1]
    add(reply[2])
  until start == '0-0' or room() == 0
end

local claimed = #entries
if claimed == 0 then
  local found
  repeat
    local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', room(), 'STREAMS', KEYS[1], '>')
    found = reply and reply[1][2] or {}
    add(found)
  until #found == 0 or room() == 0
end
return { claimed, entries }
