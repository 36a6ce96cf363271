defmodule AxonPort.PythonEnv.Check do
  @moduledoc "One check of `AxonPort.PythonEnv`: what was found, and what to do if that is not good."

  @enforce_keys [:name, :status]
  defstruct [:name, :status, :found, :advice]

  @type t :: %__MODULE__{
          name: :program | :interpreter | :package | :codec | :start,
          status: :ok | :failed | :skipped,
          found: String.t() | nil,
          advice: String.t() | nil
        }

  @marks %{ok: "ok     ", failed: "FAILED ", skipped: "skipped"}

  @doc "The check as text: a line, and one more for the advice."
  @spec format(t) :: String.t()
  def format(%__MODULE__{name: name, status: status, found: found, advice: advice}) do
    line = String.trim_trailing("#{@marks[status]} #{String.pad_trailing(to_string(name), 11)} #{found}")
    if advice, do: "#{line}\n        -> #{advice}", else: line
  end
end
