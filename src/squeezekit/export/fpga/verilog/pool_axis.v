// Maximum along one axis of N places, windows of SIZE (2 or 3), stride 2, cut off at the far edge; INNER bytes at each place.
module pool_axis #(
    parameter N = 2,
    parameter INNER = 1,
    parameter SIZE = 2
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [7:0] in_data,
    output out_valid,
    input out_ready,
    output [7:0] out_data
);
    localparam A = INNER > 1 ? $clog2(INNER) : 1;
    (* no_rw_check *) reg [7:0] memory [0:INNER-1];  // The largest so far of each open window.
    reg [A-1:0] inner, inner_0, inner_1;
    reg [$clog2(N+1)-1:0] place;
    wire odd = place[0];
    wire continues = SIZE == 3 ? place != 0 : odd;
    wire ends = place == N - 1 || (SIZE == 3 ? !odd && place != 0 : odd);

    // The byte and what is known of it, beside the memory's output and one register later.
    reg valid_0, valid_1, odd_0, odd_1, continues_0, continues_1, ends_0, ends_1;
    reg [7:0] byte_0, byte_1, kept_0, kept_1;
    wire moves = !out_valid || out_ready;
    // A byte is read again only after it has been written.
    wire rests = INNER < 3 && (valid_0 || valid_1);
    assign in_ready = moves && !rests;
    wire takes = in_valid && in_ready;
    wire [7:0] largest = continues_1 && kept_1 > byte_1 ? kept_1 : byte_1;
    assign out_valid = valid_1 && ends_1;
    assign out_data = largest;

    always @(posedge clock)
        if (moves) begin
            if (valid_1) memory[inner_1] <= odd_1 ? largest : byte_1;
            kept_0 <= memory[inner];
        end

    always @(posedge clock)
        if (reset) begin
            inner <= 0;
            place <= 0;
            valid_0 <= 0;
            valid_1 <= 0;
        end else if (moves) begin
            valid_0 <= takes;
            valid_1 <= valid_0;
            if (takes) begin
                inner <= inner == INNER - 1 ? 0 : inner + 1'b1;
                if (inner == INNER - 1) place <= place == N - 1 ? 0 : place + 1'b1;
            end
        end

    always @(posedge clock)
        if (moves) begin
            {byte_1, inner_1, odd_1, continues_1, ends_1} <= {byte_0, inner_0, odd_0, continues_0, ends_0};
            {byte_0, inner_0, odd_0, continues_0, ends_0} <= {in_data, inner, odd, continues, ends};
            kept_1 <= kept_0;
        end
endmodule
