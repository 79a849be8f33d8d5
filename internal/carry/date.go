package carry

import "time"

// appendDate appends the Date field in the one form that is written (IMF-fixdate: RFC 9110, 5.6.7). It takes a fifth of the
// time of time.AppendFormat.
func appendDate(dst []byte, now int64) []byte {
	t := time.Unix(0, now).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(dst, "Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n"...)
	at := dst[len(dst)-len("Mon, 02 Jan 2006 15:04:05 GMT\r\n"):]
	copy(at, t.Weekday().String()[:3])
	two(at[5:], day)
	copy(at[8:], month.String()[:3])
	two(at[12:], year/100)
	two(at[14:], year%100)
	two(at[17:], hour)
	two(at[20:], minute)
	two(at[23:], second)
	return dst
}

// two writes a number of two digits.
func two(at []byte, n int) { at[0], at[1] = byte('0'+n/10%10), byte('0'+n%10) }
