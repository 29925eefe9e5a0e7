"""The 2-D bench: points in the plane, a small network that trains on them in seconds, and what it computes."""

from core.lab.plane.field import PlaneField as PlaneField
from core.lab.plane.field import density_map as density_map
from core.lab.plane.field import marginal_density as marginal_density
from core.lab.plane.field import vector_field as vector_field
from core.lab.plane.network import PointNetwork as PointNetwork
from core.lab.plane.particles import PlaneStep as PlaneStep
from core.lab.plane.particles import StepsComparison as StepsComparison
from core.lab.plane.particles import compare_steps as compare_steps
from core.lab.plane.particles import particle_steps as particle_steps
from core.lab.plane.points import PlanePoints as PlanePoints
from core.lab.plane.points import drawn_points as drawn_points
from core.lab.plane.points import plane_points as plane_points
from core.lab.plane.points import principal_points as principal_points
from core.lab.plane.training import PlaneTraining as PlaneTraining
from core.lab.plane.training import train_plane as train_plane
