package gitmodels

import "math"

// Downsample keeps at most limit points of a series sorted by step, chosen by
// largest triangle three buckets (Steinarsson 2013), so that a curve keeps its
// peaks. The first point, the last and the last finite one always stay. Of a
// bucket without finite values its first point stays.
func Downsample(points []Point, limit int) []Point {
	if len(points) <= limit || limit < 4 {
		return points
	}
	kept := make([]Point, 0, limit)
	kept = append(kept, points[0])
	last := LastFinite(points)
	buckets := limit - 3 // the first, the last and the last finite point stand outside
	inner := points[1 : len(points)-1]
	bound := func(i int) int { return i * len(inner) / buckets }
	for i := range buckets {
		bucket := inner[bound(i):bound(i+1)]
		next := points[len(points)-1:]
		if i+1 < buckets {
			next = inner[bound(i+1):bound(i+2)]
		}
		chosen := 1 + bound(i) + largest(kept[len(kept)-1], bucket, next)
		if before := 1 + bound(i); last >= before && last < before+len(bucket) && last != chosen {
			kept = append(kept, points[min(last, chosen)])
			chosen = max(last, chosen)
		}
		kept = append(kept, points[chosen])
	}
	return append(kept, points[len(points)-1])
}

// largest is the index of the bucket's point that spans the largest triangle
// with the point kept before and the mean of the next bucket.
func largest(before Point, bucket, next []Point) int {
	ax, ay := float64(before.Step), float64(before.Value)
	cx, cy := mean(next)
	if !Number(ay).Finite() {
		ay = cy
	}
	best, bestArea := 0, -1.0
	for i, b := range bucket {
		if !b.Value.Finite() {
			continue
		}
		area := math.Abs((ax-cx)*(float64(b.Value)-ay) - (ax-float64(b.Step))*(cy-ay))
		if math.IsNaN(area) || area > bestArea {
			best, bestArea = i, area
		}
	}
	return best
}

// mean is the centre of the finite points, or the first step at height 0.
func mean(points []Point) (x, y float64) {
	n := 0.0
	for _, p := range points {
		if p.Value.Finite() {
			n++
			x += (float64(p.Step) - x) / n
			y += (float64(p.Value) - y) / n
		}
	}
	if n == 0 {
		return float64(points[0].Step), 0
	}
	return x, y
}

// LastFinite is the index of the last finite value of a series that is not
// empty, or of its last value when none is.
func LastFinite(points []Point) int {
	for i := len(points) - 1; i >= 0; i-- {
		if points[i].Value.Finite() {
			return i
		}
	}
	return len(points) - 1
}
